"""Grey types: scans reach a device in their own type, in half the bytes, and are answered as in float32."""

from __future__ import annotations

import ctypes
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import DTypeLike, NDArray

from scans.intensity import Window
from scans.model.manifest import MODEL_FILE, ModelManifest
from serving.inference.batching import Batcher, scan_batch_bytes
from serving.inference.runtime import segmentation
from serving.inference.runtime.binding import BoundSession
from serving.inference.runtime.grey import as_network_input
from serving.inference.runtime.memory import OutOfDeviceMemory
from serving.inference.runtime.segmentation import Runtime, window_rows
from serving.inference.runtime.session import CPU
from serving.inference.runtime.transfers import Cuda, PinnedTransfers, transfers_for
from serving.inference.scheduling import Urgency
from tests.serving.models import write_model

WINDOW = Window(0, 100)


class Library:
    """Stands in for the CUDA library where a GPU's memory is this machine's: it copies, and keeps what it was asked."""

    def __init__(self, *, most_bytes: int = 1 << 40) -> None:
        self.kept: dict[int, Any] = {}
        self.most_bytes = most_bytes
        self.copies: list[tuple[int, int]] = []
        """Bytes and direction of each."""

    def cudaGetDevice(self, _number: Any) -> int:  # noqa: N802  CUDA's names
        return 0

    def cudaSetDevice(self, _number: Any) -> int:  # noqa: N802
        return 0

    def cudaStreamCreateWithFlags(self, _stream: Any, _flags: Any) -> int:  # noqa: N802
        return 0

    def cudaStreamSynchronize(self, _stream: Any) -> int:  # noqa: N802
        return 0

    def cudaHostAlloc(self, address: Any, size: Any, _flags: Any) -> int:  # noqa: N802
        if sum(map(ctypes.sizeof, self.kept.values())) + size.value > self.most_bytes:
            return 2
        block = (ctypes.c_uint8 * size.value)()
        address._obj.value = ctypes.addressof(block)
        self.kept[ctypes.addressof(block)] = block
        return 0

    def cudaFreeHost(self, address: Any) -> int:  # noqa: N802
        del self.kept[address.value]
        return 0

    def cudaMemcpyAsync(self, to: Any, source: Any, size: Any, direction: Any, _stream: Any) -> int:  # noqa: N802
        self.copies.append((size.value, direction.value))
        pinned = source.value if direction.value == 1 else to.value
        assert any(0 <= pinned - begin < ctypes.sizeof(block) for begin, block in self.kept.items())
        ctypes.memmove(to.value, source.value, size.value)
        return 0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose classes depend on the grey value alone."""
    return write_model(tmp_path_factory.mktemp("grey"))


def session_of(model: Path) -> onnxruntime.InferenceSession:
    """Of all outputs, on the CPU."""
    return onnxruntime.InferenceSession(model / MODEL_FILE, providers=[CPU])


def bound_runtime(model: Path, library: Library | None = None, *, lanes: int = 1) -> tuple[Runtime, list[BoundSession]]:
    """A model run as on a GPU: buffers on the device, a graph that casts, pinned memory where there is a library."""
    bound = []
    for _ in range(lanes):
        one = segmentation.bind(model / MODEL_FILE, session_of(model), "cpu", 0)
        if library is not None:
            one.transfers = transfers_for("cpu", 0, cuda=Cuda(library))
        bound.append(one)
    return Runtime(tuple(one.session for one in bound), CPU, lanes, _bound=tuple(bound)), bound


def grey(dtype: DTypeLike, *, slices: int = 3) -> NDArray[Any]:
    """Values on both sides of the window's ends, as far as the type has them."""
    values = np.random.default_rng(5).integers(-40, 140, (slices, 24, 33))
    return values.clip(0, None).astype(dtype) if np.dtype(dtype).kind == "u" else values.astype(dtype)


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize(("dtype", "each"), [("u1", 1), ("u2", 2), ("i2", 2), ("f4", 4), ("f8", 4), (">u2", 4)])
def test_each_type_reaches_the_device_as_it_is(model: Path, dtype: str, each: int, pinned: bool) -> None:
    """uint16 in half the bytes of float32; what is of no grey type is cast before. Answer and confidence are the
    model's own."""
    library, slices = Library(), grey(dtype)
    runtime, _ = bound_runtime(model, library if pinned else None)
    feed = {"slices": slices.astype(np.float32), "window": window_rows(WINDOW, 3)}
    expected = session_of(model).run(["segmentation", "confidence"], feed)
    np.testing.assert_array_equal(runtime.segment(slices, WINDOW), expected[0])
    assert runtime.sent_bytes == slices.size * each + 3 * 2 * 4
    found = runtime.segment_rows_with_confidence(as_network_input(slices), window_rows(WINDOW, 3), lane=0)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    sent = [size for size, direction in library.copies if direction == 1]
    assert sent == ([slices.size * each, 24] * 2 if pinned else [])


def test_the_golden_slice_is_reproduced_in_float32_and_in_whole_numbers(model: Path) -> None:
    """float32 holds each of them exactly, so that it makes no difference on which side of the bus they are cast."""
    golden = ModelManifest.read(model).golden
    runtime, _ = bound_runtime(model)
    np.testing.assert_array_equal(runtime.segment(golden.slice[np.newaxis], golden.window)[0], golden.segmentation)
    whole = np.arange(1 << 16, dtype=np.uint16).reshape(1, 256, 256)
    plain = Runtime.open(model / MODEL_FILE, device="cpu", threads=1)
    window = Window(1000, 60000)
    expected = plain.segment(whole.astype(np.float32), window)
    np.testing.assert_array_equal(runtime.segment(whole, window), expected)
    np.testing.assert_array_equal(plain.segment(whole, window), expected)


def test_a_scan_waits_in_its_own_type(model: Path) -> None:
    """Its batches are parts of the slab itself, counted as they are: 2 bytes a pixel of uint16, 1 of the answer."""
    slab = grey("u2", slices=4)
    assert scan_batch_bytes(slab[:2], confidence=False) == slab[:2].size * 3
    runtime, _ = bound_runtime(model)
    with closing(Batcher(lanes=1)) as batcher:
        settings: dict[str, Any] = {"window": WINDOW, "network": runtime, "urgency": Urgency.NORMAL, "stream": "a"}
        answers = [batcher.submit(slab[first : first + 2], **settings).result(20) for first in (0, 2)]
    assert runtime.sent_bytes == slab.nbytes + slab.shape[0] * 2 * 4
    np.testing.assert_array_equal(np.concatenate(answers), runtime.segment(slab, WINDOW))


def test_single_slices_are_put_together_in_pinned_memory(model: Path) -> None:
    """Those of one type; what does not fit is halved and begun again, and no part spoils another there."""
    library = Library()
    runtime, (bound,) = bound_runtime(model, library)
    held, entered = threading.Event(), threading.Event()
    whole, batches, too_large = bound.run, [], (2, 4)

    def run(slices: NDArray[Any], *rest: Any) -> Any:
        entered.set()
        assert held.wait(20)
        batches.append((slices.dtype.name, len(slices)))
        answer = whole(slices, *rest)
        if len(batches) in too_large:  # four slices, and of two halves the second
            raise OutOfDeviceMemory(slices.shape, "toy")
        return answer

    bound.run = run  # type: ignore[method-assign]
    values = [grey(dtype, slices=1) for dtype in ("u2", "u2", "f4", "u2", "u2", "i8")]
    with closing(Batcher(lanes=1)) as batcher:
        how: dict[str, Any] = {"window": WINDOW, "network": runtime, "urgency": Urgency.SLICE, "merged_up_to": 8}
        first = batcher.submit(values[0], stream="first", **how)
        assert entered.wait(20)
        asked = [batcher.submit((one + n).astype(one.dtype), stream=str(n), **how) for n, one in enumerate(values)]
        held.set()
        answers = [one.result(20) for one in asked]
        first.result(20)
    for n, (answer, one) in enumerate(zip(answers, values, strict=True)):
        np.testing.assert_array_equal(answer, runtime.segment((one + n).astype(one.dtype), WINDOW))
    assert batches[:4] == [("uint16", 1), ("uint16", 4), ("uint16", 2), ("uint16", 2)]
    assert batches[4:10] == [("uint16", 1)] * 4 + [("float32", 1)] * 2


def test_pinned_memory_grows_and_goes(model: Path) -> None:
    """It is as large as the largest batch needs, whatever their order, and nothing of it is left with the runtime."""
    library = Library()
    runtime, (bound,) = bound_runtime(model, library)
    assert isinstance(bound.transfers, PinnedTransfers)
    for side in (8, 1100, 16):
        runtime.segment(np.full((1, side, side), 60, np.uint16), WINDOW)
    assert sorted(map(ctypes.sizeof, library.kept.values())) == [1 << 21, 1 << 22]
    del runtime, bound
    assert library.kept == {}


def test_without_pinned_memory_it_is_copied_as_ever(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A CUDA library that gives none is named once in the log; where it is full later, the batch does not fit."""
    caplog.set_level("INFO")
    small = Library(most_bytes=10)
    for _ in range(2):
        runtime, _ = bound_runtime(model, small)
    assert runtime.segment(grey("u2"), WINDOW).shape == (3, 24, 33)
    assert [record.getMessage() for record in caplog.records].count("no_pinned_memory") == 1
    full, _ = bound_runtime(model, Library(most_bytes=3 << 20))
    with pytest.raises(OutOfDeviceMemory, match="1 slices of 2000 x 2000 pixels"):
        full.segment(np.zeros((1, 2000, 2000), np.uint16), WINDOW)
