"""BentoML: a service that takes the body as it is, and has its batches merged by a second one behind it.

A batchable method of BentoML takes arrays, which the outside can send as JSON alone; services send them to each other
in binary. So the fast way to have both is the one that it documents for such cases: a service in front that depends on
the batching one. Asked in JSON, the batching one needs none in front.
"""

import os
import sys
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from network import BATCH, NUMBERS, PORT, WORKERS, Network
from numpy.typing import NDArray

_QUIET: dict[str, Any] = {"logging": {"access": {"enabled": False}}, "traffic": {"timeout": 600, "max_concurrency": 64}}


@bentoml.service(workers=WORKERS, **_QUIET)
class Batched:
    """Merges what waits, as many as its dispatcher finds best."""

    def __init__(self) -> None:
        self._network = Network()

    @bentoml.api(batchable=True, max_batch_size=max(BATCH, 2), max_latency_ms=600_000)  # type: ignore[untyped-decorator]
    def segment(self, slices: np.ndarray) -> np.ndarray:
        """uint16 (N, Y, X) -> uint8 (N, Y, X)."""
        segmentation: NDArray[np.uint8] = self._network.segment(slices)
        return segmentation


@bentoml.service(workers=1, **_QUIET)
class Front:
    """Scheduler bodies into arrays and back, and lets the other one infer."""

    batched = bentoml.depends(Batched)

    def __init__(self) -> None:
        self._side = int(os.environ["PEER_SIDE"])

    @bentoml.api  # type: ignore[untyped-decorator]
    async def infer(self, content: bytes, /) -> bytes:
        """uint16 slices -> their segmentation."""
        slices = np.frombuffer(content, "<u2").reshape(-1, self._side, self._side)
        segmentation: NDArray[np.uint8] = await self.batched.to_async.segment(slices)
        return segmentation.tobytes()


@bentoml.service(workers=WORKERS, **_QUIET)
class Alone:
    """No batches: each request on a thread of the service's pool."""

    def __init__(self) -> None:
        self._network = Network()

    @bentoml.api  # type: ignore[untyped-decorator]
    def infer(self, content: bytes, /) -> bytes:
        """uint16 slices -> their segmentation."""
        segmentation: NDArray[np.uint8] = self._network.segment(self._network.read(content))
        return segmentation.tobytes()


@bentoml.service(workers=WORKERS, **_QUIET)
class AloneInNumbers:
    """The same, for arrays in JSON."""

    def __init__(self) -> None:
        self._network = Network()

    @bentoml.api  # type: ignore[untyped-decorator]
    def segment(self, slices: np.ndarray) -> np.ndarray:
        """Grey values (N, Y, X) -> uint8 (N, Y, X)."""
        segmentation: NDArray[np.uint8] = self._network.segment(slices)
        return segmentation


_IN_NUMBERS, _IN_BYTES = (Batched, Front) if BATCH > 1 else (AloneInNumbers, Alone)
Slices = _IN_NUMBERS if NUMBERS else _IN_BYTES


def main() -> None:
    """Becomes `bentoml serve`."""
    command = ["bentoml", "serve", "bentoml_service:Slices", "--host", "127.0.0.1", "--port", str(PORT)]
    program = Path(sys.executable).with_name("bentoml")
    os.execv(program, [*command, "--working-dir", str(Path(__file__).parent)])  # noqa: S606


if __name__ == "__main__":
    main()
