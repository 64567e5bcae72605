"""MLServer: a custom runtime, with its adaptive batching and its parallel workers.

Over REST it has no binary tensors (its V2 is JSON); the densest that its codecs offer for a tensor is base64.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from network import BATCH, BATCH_SECONDS, NUMBERS, PORT, WORKERS, Network, free_port


class Slices(MLModel):  # type: ignore[misc]  # its base is not installed where this is checked
    """BYTES tensor of uint16 slices -> BYTES tensor of their segmentations; UINT16 -> UINT8 in numbers."""

    async def load(self) -> bool:
        """Once in each worker."""
        self._network = Network()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One request, or several that were merged."""
        if NUMBERS:
            segmentations = self._network.segment(self.decode(payload.inputs[0], default_codec=NumpyCodec))
            output = NumpyCodec.encode_output("segmentation", segmentations)
        else:
            contents = self.decode(payload.inputs[0], default_codec=Base64Codec)
            segmentations = self._network.segment(self._network.read(b"".join(contents)))
            output = Base64Codec.encode_output("segmentation", [one.tobytes() for one in segmentations])
        return InferenceResponse(model_name=self.name, outputs=[output])


def main() -> None:
    """Writes the settings and becomes `mlserver start`."""
    folder = Path(tempfile.mkdtemp(prefix="ricefish-mlserver-", dir=os.environ.get("PEER_FOLDER")))
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": PORT,
        "grpc_port": free_port(),
        "metrics_endpoint": None,
        "parallel_workers": WORKERS if WORKERS > 1 else 0,
        "gzip_enabled": False,
    }
    batching = {"max_batch_size": BATCH, "max_batch_time": BATCH_SECONDS} if BATCH > 1 else {}
    model = {"name": "slices", "implementation": "mlserver_runtime.Slices", **batching}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    os.chdir(folder)
    program = Path(sys.executable).with_name("mlserver")
    os.execv(program, ["mlserver", "start", str(folder)])  # noqa: S606


if __name__ == "__main__":
    main()
