"""Loader: a kept copy of a model becomes one that can be given work, checked on its golden slice in the precision
that will serve.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scans.model.manifest import MANIFEST_FILE, MODEL_FILE, Golden, ManifestError, ModelManifest
from scans.precision import Precision
from serving.inference.batching import Batcher
from serving.inference.runtime.contract import SegmentationRuntime, Served
from serving.inference.runtime.memory import OutOfDeviceMemory
from serving.inference.runtime.segmentation import Runtime
from serving.inference.runtime.session import CPU, Device, DoesNotFit, RuntimeRefused, cuda_devices
from serving.inference.scheduling import Urgency
from serving.inference.tuning import Tuner
from serving.models.loaded_model import LoadedModel, ModelError, ModelIdentity
from serving.models.quality_classifier import QualityRuntime
from serving.observability import logs

_GOLDEN_DISAGREEMENT = 0.001
"""Share of the golden slice's pixels that may differ: rounding differs from processor to processor, as at export."""

Answer = Callable[[SegmentationRuntime, Golden], NDArray[np.uint8]]
"""What a model answers to a golden slice, uint8 (Y, X)."""


def directly(runtime: SegmentationRuntime, golden: Golden) -> NDArray[np.uint8]:
    """Asks the model itself, past any queue."""
    answer: NDArray[np.uint8] = runtime.segment(golden.slice[np.newaxis], golden.window)[0]
    return answer


def in_turn(batcher: Batcher) -> Answer:
    """Asks the model through the batching queue, so that it takes no processor from who is answered at the moment.

    As a single slice, which takes turns with those of others: less urgent, it would wait for as long as they come.
    """

    def answer(runtime: SegmentationRuntime, golden: Golden) -> NDArray[np.uint8]:
        asked = batcher.submit(
            golden.slice[np.newaxis],
            window=golden.window,
            network=runtime,
            urgency=Urgency.SLICE,
            stream="golden slice",
            counted=False,
        )
        first: NDArray[np.uint8] = asked.result()[0]
        return first

    return answer


class Loader:
    """Opens models on the device of this process."""

    def __init__(
        self,
        *,
        device: Device,
        tuner: Tuner,
        precision: Served | Literal["auto"],
        answer: Answer = directly,
    ) -> None:
        """`answer` has a model answer its golden slice while others work: through the batching queue."""
        self._device: Device = device
        self._tuner = tuner
        self._precision: Served | Literal["auto"] = precision
        self._answer = answer

    def load(self, folder: Path, identity: ModelIdentity, *, like: LoadedModel | None = None) -> LoadedModel:
        """The model in a folder, which has the hashes that its manifest states and reproduces its golden slice.

        It is run as the model `like` is, where it was not measured before: measuring would take the device from who
        works on it; None: nobody does. Raises ModelError.
        """
        manifest = checked_manifest(folder)
        precision = self._chosen(manifest)
        file = folder / (manifest.variants[precision].file if precision != "float32" else MODEL_FILE)

        def opened(threads: int, lanes: int) -> Runtime:
            return Runtime.open(file, device=self._device, threads=threads, lanes=lanes)

        try:
            tuning = self._tuner.tune(
                opened,
                manifest.golden,
                model_sha256=manifest.files[str(file.relative_to(folder))],
                like=None if like is None else like.tuning,
            )
            runtime = opened(tuning.threads, tuning.lanes)
            self._check_golden(manifest, runtime, identity, precision=precision, alone=like is None)
            quality = QualityRuntime.load(folder, device=self._device)
        except (DoesNotFit, OutOfDeviceMemory) as error:
            raise ModelError(f"model {identity} does not fit the device: {error}", reason="device") from error
        except RuntimeRefused as error:
            raise ModelError(str(error)) from error
        except ManifestError as error:
            raise ModelError(str(error), reason="hash") from error
        if self._device == "auto" and runtime.provider == CPU:
            logs.event("model_on_cpu", level=logging.WARNING, model=identity.name, reason="no usable GPU was found")
        logs.event(
            "model_loaded",
            model=identity.name,
            version=identity.version or "-",
            sha256=identity.sha256[:12],
            provider=runtime.provider,
            precision=precision,
            classifier=quality is not None,
        )
        return LoadedModel(identity, manifest, runtime, tuning, precision, quality)

    def _chosen(self, manifest: ModelManifest) -> Served:
        """The precision that was asked for, or the fastest for the device whose accuracy export has checked."""
        if self._precision != "auto":
            if self._precision != "float32" and self._precision not in manifest.variants:
                offered = ", ".join(("float32", *manifest.variants))
                raise ModelError(
                    f"model {manifest.name} has no {self._precision} that passed its check; it has {offered}"
                )
            return self._precision
        best: Precision = "float16" if cuda_devices(self._device) else "int8"
        return best if best in manifest.variants else "float32"

    def _check_golden(
        self,
        manifest: ModelManifest,
        runtime: SegmentationRuntime,
        identity: ModelIdentity,
        *,
        precision: Served,
        alone: bool,
    ) -> None:
        golden = manifest.golden
        if precision != "float32":
            golden = dataclasses.replace(golden, segmentation=manifest.variants[precision].segmentation)
        answer = directly(runtime, golden) if alone else self._answer(runtime, golden)
        same_shape = answer.shape == golden.segmentation.shape
        disagreement = float(np.mean(answer != golden.segmentation)) if same_shape else 1.0
        if disagreement > _GOLDEN_DISAGREEMENT:
            raise ModelError(
                f"model {identity.name} (SHA-256 {identity.sha256}) does not reproduce its golden slice on "
                f"{runtime.provider} in {precision}: {disagreement:.2%} of the pixels differ, "
                f"{_GOLDEN_DISAGREEMENT:.2%} may; the file or the installation is damaged, so it is not served",
                reason="golden",
            )


def checked_manifest(folder: Path) -> ModelManifest:
    """The manifest of a folder whose files have the hashes that it states. Raises ModelError."""
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a folder; a model is a folder that holds {MODEL_FILE} and its manifest")
    try:
        manifest = ModelManifest.read(folder)
    except ManifestError as error:
        plain = not (folder / MANIFEST_FILE).exists() and (folder / MODEL_FILE).is_file()
        hint = "; a plain ONNX model is served from RICEFISH_MODEL_REPOSITORY, a folder of such folders"
        raise ModelError(f"{error}{hint if plain else ''}") from error
    if not (folder / MODEL_FILE).is_file():
        raise ModelError(f"{folder / MODEL_FILE} does not exist; the folder holds only its manifest", reason="hash")
    try:
        manifest.verify(folder)
    except ManifestError as error:
        raise ModelError(str(error), reason="hash") from error
    return manifest
