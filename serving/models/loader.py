"""Loader: a kept copy of a model becomes one that can be given work, checked on its golden slice in the precision
that will serve, by the library that will compute it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scans.model.manifest import MANIFEST_FILE, MODEL_FILE, Golden, ManifestError, ModelManifest
from serving.inference.batching import Batcher
from serving.inference.candidates import EngineCandidate
from serving.inference.runtime.memory import OutOfDeviceMemory
from serving.inference.runtime.openvino_library import openvino_version
from serving.inference.runtime.openvino_runtime import OpenVinoRuntime
from serving.inference.runtime.processors import processors
from serving.inference.runtime.segmentation import Runtime
from serving.inference.runtime.segmentation_runtime import Engine, SegmentationRuntime, Served
from serving.inference.runtime.session import CPU, Device, DoesNotFit, RuntimeRefused, cuda_devices
from serving.inference.scheduling import Urgency
from serving.inference.tuning import Tuner, Tuning
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


class AnswersOtherwise(RuntimeRefused):
    """A loaded model that does not reproduce its golden slice."""


class Loader:
    """Opens models on the device of this process."""

    def __init__(
        self,
        *,
        device: Device,
        tuner: Tuner,
        precision: Served | Literal["auto"],
        engine: Engine | Literal["auto"] = "auto",
        answer: Answer = directly,
    ) -> None:
        """`answer` has a model answer its golden slice while others work: through the batching queue."""
        self._device: Device = device
        self._tuner = tuner
        self._precision: Served | Literal["auto"] = precision
        self._engine: Engine | Literal["auto"] = engine
        self._answer = answer

    def load(self, folder: Path, identity: ModelIdentity, *, like: LoadedModel | None = None) -> LoadedModel:
        """The model in a folder, which has the hashes that its manifest states and reproduces its golden slice.

        It is run as the model `like` is, where it was not measured before: measuring would take the device from who
        works on it; None: nobody does. Raises ModelError.
        """
        manifest = checked_manifest(folder)
        candidates = self._candidates(folder, manifest)
        try:
            tuning = self._tuner.tune(
                candidates,
                manifest.golden,
                model_sha256=identity.key,
                like=None if like is None else like.tuning,
            )
            answer = directly if like is None else self._answer
            runtime, alone, tuning = self._opened(candidates, tuning, manifest, answer)
            quality = QualityRuntime.load(folder, device=self._device)
        except (DoesNotFit, OutOfDeviceMemory) as error:
            raise ModelError(f"model {identity} does not fit the device: {error}", reason="device") from error
        except AnswersOtherwise as error:
            raise ModelError(
                f"model {identity.name} (SHA-256 {identity.sha256}) {error}; the file or the installation is damaged, "
                "so it is not served",
                reason="golden",
            ) from error
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
            precision=tuning.precision,
            engine=tuning.engine,
            chosen=tuning.account,
            classifier=quality is not None,
        )
        return LoadedModel(identity, manifest, runtime, tuning, tuning.precision, alone, quality)

    def _candidates(self, folder: Path, manifest: ModelManifest) -> list[EngineCandidate]:
        """In the order of trust: float32 before int8, ONNX Runtime, which export checked them with, before OpenVINO."""
        engines = self._engines()
        return [
            self._candidate(folder, manifest, precision, engine)
            for precision in self._precisions(manifest)
            for engine in engines
            if engine == "onnxruntime" or precision != "float16" or engines == [engine]
        ]

    def _precisions(self, manifest: ModelManifest) -> list[Served]:
        """What was asked for, or those that may be the fastest and whose accuracy export has checked."""
        if self._precision != "auto":
            if self._precision != "float32" and self._precision not in manifest.variants:
                offered = ", ".join(("float32", *manifest.variants))
                raise ModelError(
                    f"model {manifest.name} has no {self._precision} that passed its check; it has {offered}"
                )
            return [self._precision]
        if cuda_devices(self._device):
            return ["float16"] if "float16" in manifest.variants else ["float32"]
        return ["float32", "int8"] if "int8" in manifest.variants else ["float32"]

    def _engines(self) -> list[Engine]:
        """What was asked for, or what is installed for the device. Raises ModelError."""
        if self._engine == "openvino":
            if openvino_version() is None:
                raise ModelError("RICEFISH_ENGINE is openvino, which is not installed here; onnxruntime is")
            if self._device == "cuda" or cuda_devices(self._device):
                raise ModelError("RICEFISH_ENGINE=openvino computes on the processor: set RICEFISH_DEVICE=cpu as well")
            return ["openvino"]
        if self._engine == "onnxruntime" or self._device == "cuda" or cuda_devices(self._device):
            return ["onnxruntime"]
        if openvino_version() is None:
            logs.event("engine_not_there", engine="openvino", reason="it is not installed")
            return ["onnxruntime"]
        return ["onnxruntime", "openvino"]

    def _candidate(self, folder: Path, manifest: ModelManifest, precision: Served, engine: Engine) -> EngineCandidate:
        file = folder / (manifest.variants[precision].file if precision != "float32" else MODEL_FILE)

        def opened(threads: int, lanes: int) -> SegmentationRuntime:
            if engine == "openvino":
                return OpenVinoRuntime.open(file, threads=threads, lanes=lanes)
            return Runtime.open(file, device=self._device, threads=threads, lanes=lanes)

        def opened_alone(threads: int) -> SegmentationRuntime:
            if engine == "openvino":
                return OpenVinoRuntime.open(file, threads=threads, keeps_memory=False)
            return Runtime.open_alone(file, threads=threads)

        def check(runtime: SegmentationRuntime) -> None:
            check_golden(manifest, runtime, precision, directly)

        return EngineCandidate(precision, engine, opened, opened_alone, check)

    def _opened(
        self, candidates: Sequence[EngineCandidate], tuning: Tuning, manifest: ModelManifest, answer: Answer
    ) -> tuple[SegmentationRuntime, SegmentationRuntime | None, Tuning]:
        """The model as it was chosen to be run; where that cannot be, by ONNX Runtime. Raises as the last one."""
        ordered = _in_turn_of(candidates, tuning)
        for candidate in ordered:
            try:
                runtime = candidate.open(tuning.threads, tuning.lanes)
                check_golden(manifest, runtime, candidate.precision, answer)
            except RuntimeRefused as error:
                if candidate is ordered[-1] or isinstance(error, DoesNotFit):
                    raise
                logs.event(
                    "candidate_refused",
                    level=logging.WARNING,
                    precision=candidate.precision,
                    engine=candidate.engine,
                    reason=error,
                )
            else:
                found = dataclasses.replace(tuning, precision=candidate.precision, engine=candidate.engine)
                return runtime, _alone(candidate, runtime, tuning.threads), found
        raise AssertionError("there is a candidate")


def _alone(candidate: EngineCandidate, runtime: SegmentationRuntime, threads: int) -> SegmentationRuntime | None:
    """The model once more on all processors, where `runtime` leaves some idle that has one batch alone."""
    if runtime.lanes == 1 or runtime.pixel_bytes is None or threads >= processors():  # None: on a GPU
        return None
    try:
        return candidate.open_alone(processors())
    except RuntimeRefused as error:
        logs.event("not_opened_alone", level=logging.WARNING, reason=error)
        return None


def check_golden(manifest: ModelManifest, runtime: SegmentationRuntime, precision: Served, answer: Answer) -> None:
    """Raises AnswersOtherwise unless a model answers its golden slice as its manifest says of that precision.

    A variant rounds coarsely, and each library, and a processor without VNNI, at other places. So its answer may also
    be another than at export if it is as near to float32's as that was, here or on the validation slices, where export
    has found that it costs nothing.
    """
    golden = manifest.golden
    answered = answer(runtime, golden)
    differing, most, than = _share(answered, golden.segmentation), _GOLDEN_DISAGREEMENT, ""
    if precision != "float32":
        variant = manifest.variants[precision]
        if _share(answered, variant.segmentation) <= _GOLDEN_DISAGREEMENT:
            return
        most += max(variant.disagreement, _share(variant.segmentation, golden.segmentation))
        than = " from float32"
    if differing > most:
        raise AnswersOtherwise(
            f"does not reproduce its golden slice on {runtime.provider} in {precision} by {runtime.engine}: "
            f"{differing:.2%} of the pixels differ{than}, {most:.2%} may"
        )


def _share(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Of pixels (Y, X) that differ; all, where the shapes do."""
    return float(np.mean(one != other)) if one.shape == other.shape else 1.0


def _in_turn_of(candidates: Sequence[EngineCandidate], tuning: Tuning) -> list[EngineCandidate]:
    """The chosen one first, then those of ONNX Runtime, of which float32 is trusted most and is the slowest, last."""
    chosen = [one for one in candidates if (one.precision, one.engine) == (tuning.precision, tuning.engine)]
    return chosen + [one for one in reversed(candidates) if one not in chosen and one.engine == "onnxruntime"]


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
