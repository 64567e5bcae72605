"""LitServe: a LitAPI that takes the body as it is; ZeroMQ between its processes, as it advises for high throughput."""

# no `from __future__ import annotations`: LitServe hands the annotation of `request` on to FastAPI
from typing import Annotated, Any

import litserve
import numpy as np
from fastapi import Body, Response
from network import BATCH, BATCH_SECONDS, NUMBERS, PORT, WORKERS, Network
from numpy.typing import NDArray

RawBody = Annotated[bytes, Body(media_type="application/octet-stream")]


class Slices(litserve.LitAPI):  # type: ignore[misc]  # its base is not installed where this is checked
    """uint16 slices in the body -> their segmentation in the answer's."""

    def setup(self, device: str) -> None:
        """Once in each worker."""
        self._network = Network()

    def decode_request(self, request: RawBody) -> NDArray[np.uint16]:
        """One slice, (Y, X)."""
        piece: NDArray[np.uint16] = self._network.read(request)[0]
        return piece

    def batch(self, inputs: list[NDArray[np.uint16]]) -> NDArray[np.uint16]:
        """(N, Y, X)."""
        return np.stack(inputs)

    def predict(self, x: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """A batch, or a single slice where there is no batching."""
        batch = x if x.ndim == 3 else x[np.newaxis]
        segmentation: NDArray[np.uint8] = self._network.segment(batch)
        return segmentation if x.ndim == 3 else segmentation[0]

    def unbatch(self, output: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """One for each request."""
        return list(output)

    def encode_response(self, output: NDArray[np.uint8]) -> Response:
        """As it lies in memory."""
        return Response(output.tobytes(), media_type="application/octet-stream")


class InNumbers(Slices):
    """The same, for arrays in JSON."""

    def decode_request(self, request: dict[str, Any]) -> NDArray[np.uint16]:  # type: ignore[override]
        """One slice, (Y, X)."""
        return np.array(request["slices"], np.uint16)

    def encode_response(self, output: NDArray[np.uint8]) -> dict[str, Any]:  # type: ignore[override]
        """Nested lists."""
        return {"segmentation": output.tolist()}


def main() -> None:
    """Serves until it is told to stop."""
    batching: dict[str, Any] = {"max_batch_size": BATCH, "batch_timeout": BATCH_SECONDS} if BATCH > 1 else {}
    server = litserve.LitServer(
        (InNumbers if NUMBERS else Slices)(api_path="/infer", **batching),
        accelerator="cpu",
        devices=1,
        workers_per_device=WORKERS,
        fast_queue=True,
    )
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="error", access_log=False)


if __name__ == "__main__":
    main()
