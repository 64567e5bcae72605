"""When a device's memory does not suffice: recognised by what the libraries say, since they raise no type for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_SAID = (
    "failed to allocate",
    "can't alloc",
    "out of memory",
    "bad allocation",
    "bad_alloc",
    "cuda error 2:",
    "alloc_failed",
    "cuda failure 2:",
)


class OutOfDeviceMemory(MemoryError):
    """A batch that does not fit; the message names its size and the device."""

    def __init__(self, shape: tuple[int, ...], device: str) -> None:
        n, y, x = shape
        super().__init__(f"{n} slices of {y} x {x} pixels do not fit into the memory that {device} has left")


@contextmanager
def out_of_memory_told(shape: tuple[int, ...], device: str) -> Iterator[None]:
    """For a library at a batch of that shape, (N, Y, X). Raises OutOfDeviceMemory if that is why it fails."""
    try:
        yield
    except Exception as error:  # what ONNX Runtime and OpenVINO raise shares no base but this one
        if is_out_of_memory(error):
            raise OutOfDeviceMemory(shape, device) from error
        raise


def is_out_of_memory(error: Exception) -> bool:
    """True for what ONNX Runtime and OpenVINO raise when the device, or the machine, has no memory left."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(said in text for said in _SAID)
