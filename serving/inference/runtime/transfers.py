"""Transfers: how batches reach a device and answers leave it.

A GPU copies by itself, at the full speed of the bus and beside what it computes, from memory that the system may not
move: pinned. ONNX Runtime for Python gives none, so it is asked of the CUDA library that ONNX Runtime itself has
loaded.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import DTypeLike, NDArray

from serving.observability import logs

_LIBRARIES = ("libcudart.so.13", "libcudart.so.12", "cudart64_13.dll", "cudart64_12.dll")
"""That ONNX Runtime's CUDA provider is linked with; those of the process, found by name."""
_PORTABLE, _NON_BLOCKING = 1, 1
_TO_DEVICE, _TO_HOST = 1, 2
_LEAST_BYTES = 1 << 20
_told: set[str] = set()
"""Reasons why there is no pinned memory that were logged; once is enough."""


class CudaFailed(RuntimeError):
    """A call of the CUDA library that did not succeed; the message names it and says why."""


class Transfers(Protocol):
    """To and from one device; for one thread at a time."""

    def room(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any] | None:
        """Where a batch may be put together, so that it need not be copied on this side; None: there is no such place.
        It is good until it is asked for again."""
        ...

    def send(self, array: NDArray[Any], to: onnxruntime.OrtValue) -> None:
        """Copies; the array may be changed afterwards. Raises CudaFailed."""
        ...

    def fetch(self, value: onnxruntime.OrtValue, dtype: DTypeLike) -> NDArray[Any]:
        """What it holds, as an array of its own. Raises CudaFailed."""
        ...


class OrdinaryTransfers:
    """By ONNX Runtime, from and to whatever memory the arrays lie in."""

    def room(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any] | None:
        """None."""
        return None

    def send(self, array: NDArray[Any], to: onnxruntime.OrtValue) -> None:
        """Copies."""
        to.update_inplace(np.ascontiguousarray(array))

    def fetch(self, value: onnxruntime.OrtValue, dtype: DTypeLike) -> NDArray[Any]:
        """What it holds; on the CPU, `numpy` is the buffer itself."""
        array: NDArray[Any] = value.numpy()
        return array.copy() if value.device_name() == "cpu" else array


@dataclass
class PinnedTransfers:
    """Through pinned memory, by a stream of its own; other threads go on meanwhile. Three pieces, each as large as what
    was largest so far: what is put together in one stays as it is while parts of it, or others, go through the second.
    """

    cuda: Cuda
    stream: int
    _together: Pinned = field(init=False)
    _in: Pinned = field(init=False)
    _out: Pinned = field(init=False)

    def __post_init__(self) -> None:
        self._together, self._in, self._out = (Pinned(self.cuda) for _ in range(3))

    def room(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any] | None:
        """Pinned memory; None where there is no more of it."""
        try:
            return self._together.view(shape, dtype)
        except CudaFailed:
            return None

    def send(self, array: NDArray[Any], to: onnxruntime.OrtValue) -> None:
        """Copies, on this side too where it lies elsewhere than in `room`."""
        if not self._together.holds(array):
            there = self._in.view(array.shape, array.dtype)
            np.copyto(there, array)
            array = there
        self.cuda.copy(to.data_ptr(), array.ctypes.data, array.nbytes, _TO_DEVICE, self.stream)

    def fetch(self, value: onnxruntime.OrtValue, dtype: DTypeLike) -> NDArray[Any]:
        """What it holds, copied out of the pinned memory."""
        there = self._out.view(tuple(value.shape()), dtype)
        self.cuda.copy(there.ctypes.data, value.data_ptr(), there.nbytes, _TO_HOST, self.stream)
        return there.copy()


class Pinned:
    """A piece of pinned memory that grows as needed, and goes when nobody refers to it."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._address = 0
        self._bytes = 0

    def view(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        """Its beginning, as an array. Raises CudaFailed where there is no memory."""
        needed = math.prod(shape) * np.dtype(dtype).itemsize
        if needed > self._bytes:
            self._free()
            size = max(_LEAST_BYTES, 1 << (needed - 1).bit_length())
            self._address, self._bytes = self._cuda.pinned(size), size
        raw: NDArray[np.uint8] = np.ctypeslib.as_array((ctypes.c_uint8 * needed).from_address(self._address))
        return raw.view(np.dtype(dtype)).reshape(tuple(shape))

    def holds(self, array: NDArray[Any]) -> bool:
        """Whether an array lies in it in one piece."""
        begin = array.ctypes.data - self._address
        return array.flags.c_contiguous and begin >= 0 and begin + array.nbytes <= self._bytes

    def _free(self) -> None:
        address, self._address, self._bytes = self._address, 0, 0
        if address:
            self._cuda.free(address)

    def __del__(self) -> None:
        self._free()


class Cuda:
    """The few calls of the CUDA runtime library that are needed; each lets other threads go on."""

    def __init__(self, library: Any) -> None:
        """`library`: as ctypes loads it."""
        self._library = library

    def stream(self, device: int) -> int:
        """A new stream on that GPU, which waits for no other. Raises CudaFailed."""
        before, made = ctypes.c_int(0), ctypes.c_void_p(0)
        self._call("cudaGetDevice", ctypes.byref(before))
        self._call("cudaSetDevice", ctypes.c_int(device))
        try:
            self._call("cudaStreamCreateWithFlags", ctypes.byref(made), ctypes.c_uint(_NON_BLOCKING))
        finally:
            self._call("cudaSetDevice", before)
        return made.value or 0

    def pinned(self, size: int) -> int:
        """The address of so many bytes that every GPU can copy from. Raises CudaFailed."""
        address = ctypes.c_void_p(0)
        self._call("cudaHostAlloc", ctypes.byref(address), ctypes.c_size_t(size), ctypes.c_uint(_PORTABLE))
        return address.value or 0

    def free(self, address: int) -> None:
        """Gives them back; at the end of the process, CUDA may have gone before."""
        self._library.cudaFreeHost(ctypes.c_void_p(address))

    def copy(self, to: int, source: int, size: int, direction: int, stream: int) -> None:
        """Copies between a GPU and pinned memory, and waits for it. Raises CudaFailed."""
        where = (ctypes.c_void_p(to), ctypes.c_void_p(source), ctypes.c_size_t(size))
        self._call("cudaMemcpyAsync", *where, ctypes.c_int(direction), ctypes.c_void_p(stream))
        self._call("cudaStreamSynchronize", ctypes.c_void_p(stream))

    def _call(self, name: str, *arguments: Any) -> None:
        status = int(getattr(self._library, name)(*arguments))
        if status:
            raise CudaFailed(f"{name}: CUDA error {status}: {_MEANINGS.get(status, 'see cudaError_t')}")


_MEANINGS = {1: "invalid value", 2: "out of memory", 35: "the driver is older than the library", 100: "no device"}


def transfers_for(device: str, number: int, *, cuda: Cuda | None = None) -> Transfers:
    """Through pinned memory on a GPU where that can be had, else as ONNX Runtime does it, which is said once."""
    if device != "cuda" and cuda is None:
        return OrdinaryTransfers()
    try:
        library = cuda or Cuda(_loaded())
        pinned = PinnedTransfers(library, library.stream(number))
        Pinned(library).view((1,), np.uint8)
    except (OSError, AttributeError, CudaFailed) as error:
        if str(error) not in _told:
            _told.add(str(error))
            logs.event("no_pinned_memory", gpu=number, error=error)
        return OrdinaryTransfers()
    return pinned


def _loaded() -> ctypes.CDLL:
    """The CUDA library of this process. Raises OSError where there is none."""
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise OSError(f"none of {', '.join(_LIBRARIES)} could be loaded")
