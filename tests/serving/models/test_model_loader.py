"""A model is served only if it is what its manifest says and does what its golden slice says."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from harness.offline import run_offline
from scans.intensity import Window
from scans.model.manifest import MODEL_FILE, ModelManifest, Variant, file_sha256
from serving.inference.batching import Batcher
from serving.inference.runtime.segmentation import Runtime, window_rows
from serving.inference.runtime.session import RuntimeRefused
from serving.inference.scheduling import Urgency
from serving.inference.tuning import Tuner, TuningOverrides
from serving.models.loader import in_turn
from serving.models.registry import RegistryError, find_version
from serving.models.served import ModelError, ModelIdentity, Models
from tests.serving.models import ORGANS, threshold_model, write_model


def _models(tmp_path: Path) -> Models:
    return Models(
        tmp_path / "kept", device="cpu", tuner=Tuner(tmp_path, overrides=TuningOverrides(threads=1, batch_size=4))
    )


def _kept(tmp_path: Path) -> list[str]:
    return [folder.name for folder in (tmp_path / "kept").iterdir() if folder.name != "references"]


def _rewritten(folder: Path, **changes: object) -> None:
    dataclasses.replace(ModelManifest.read(folder), **changes).write(folder)  # type: ignore[arg-type]


def _wrong_hash(folder: Path) -> None:
    with (folder / MODEL_FILE).open("ab") as file:
        file.write(b"\0")


def _wrong_golden(folder: Path) -> None:
    golden = ModelManifest.read(folder).golden
    changed = golden.segmentation.copy()
    changed[:, :5] = 2
    _rewritten(folder, golden=dataclasses.replace(golden, segmentation=changed))


def _quality_model(folder: Path) -> None:
    _rewritten(folder, kind="quality")


def _across_x(folder: Path) -> None:
    _rewritten(folder, slice_axis=2)


def _no_model(folder: Path) -> None:
    (folder / MODEL_FILE).unlink()


def _no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def _other_graph(folder: Path) -> None:
    value = helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N"])
    result = helper.make_tensor_value_info("b", TensorProto.FLOAT, ["N"])
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "other", [value], [result])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / MODEL_FILE)
    _rewritten(folder, model_sha256=file_sha256(folder / MODEL_FILE))


def _not_onnx(folder: Path) -> None:
    (folder / MODEL_FILE).write_bytes(b"not a graph")
    _rewritten(folder, model_sha256=file_sha256(folder / MODEL_FILE))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_wrong_hash, "has SHA-256"),
        (_wrong_golden, "does not reproduce its golden slice"),
        (_quality_model, "a server needs a segmentation model"),
        (_across_x, "slice_axis is 2"),
        (_no_model, "model.onnx does not exist"),
        (_no_manifest, r"manifest.json does not exist.*; a plain ONNX model is served from RICEFISH_MODEL_REPOSITORY"),
        (_other_graph, "a segmentation model has"),
        (_not_onnx, "not a model that ONNX Runtime can load"),
    ],
)
def test_a_model_that_is_not_right_is_refused(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    """Whatever is wrong with a model folder is said, and no model becomes the current one."""
    folder = write_model(tmp_path / "model")
    damage(folder)
    models = _models(tmp_path)
    with pytest.raises(ModelError, match=message):
        models.serve(str(folder))
    with pytest.raises(ModelError, match="no model is loaded"):
        _ = models.current


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The message holds the path that was asked for."""
    with pytest.raises(ModelError, match="nowhere is not a folder"):
        _models(tmp_path).serve(str(tmp_path / "nowhere"))


def test_a_scan_finds_its_model_after_the_folder_was_retrained(tmp_path: Path) -> None:
    """The store's copy of the first model is still there, exactly, when the folder holds another."""
    models = _models(tmp_path)
    first = models.serve(str(write_model(tmp_path / "model"))).identity
    second = models.serve(str(write_model(tmp_path / "model", thresholds=(0.2, 0.3)))).identity
    assert first != second
    again = Models(
        tmp_path / "kept", device="cpu", tuner=Tuner(tmp_path, overrides=TuningOverrides(threads=1, batch_size=4))
    )
    assert again.of_scan(first).identity == first
    assert again.of_scan(first).manifest.model_sha256 == first.sha256


def test_a_scan_whose_model_is_gone_is_not_finished_by_another(tmp_path: Path) -> None:
    """The error names the model, and says what to do."""
    models = _models(tmp_path)
    models.serve(str(write_model(tmp_path / "model")))
    with pytest.raises(ModelError, match="another model must not finish it"):
        models.of_scan(ModelIdentity(name="lost", version="3", sha256="f" * 64, key="e" * 64))


def test_pruning_keeps_what_is_needed(tmp_path: Path) -> None:
    """Of a folder's five models, the present one stays, the one before, and the one that a scan needs."""
    keys = [
        _models(tmp_path).serve(str(write_model(tmp_path / "model", thresholds=(0.1, 0.2 + n / 10)))).identity.key
        for n in range(5)
    ]
    _models(tmp_path).prune({keys[0]})
    assert set(_kept(tmp_path)) == set(keys), "they were all in place within the last hour"
    _models(tmp_path).prune({keys[0]}, grace_seconds=0)
    assert set(_kept(tmp_path)) == {keys[0], keys[3], keys[4]}


def test_pruning_keeps_what_is_loaded(tmp_path: Path) -> None:
    """A model that somebody still works with stays, although no scan needs it and nothing means it any more."""
    models = _models(tmp_path)
    held = models.serve(str(write_model(tmp_path / "model")))
    for threshold in (0.5, 0.6, 0.7):
        models.serve(str(write_model(tmp_path / "model", thresholds=(0.1, threshold))))
    models.prune((), grace_seconds=0)
    assert held.identity.key in _kept(tmp_path)
    key = held.identity.key
    del held
    models.prune((), grace_seconds=0)
    assert key not in _kept(tmp_path)


def test_a_damaged_copy_is_replaced(tmp_path: Path) -> None:
    """A bit that the disk lost in the copy does not keep a server with the right folder from starting."""
    folder = write_model(tmp_path / "model")
    key = _models(tmp_path).serve(str(folder)).identity.key
    _wrong_hash(tmp_path / "kept" / key)
    assert _models(tmp_path).serve(str(folder)).identity.key == key


def test_confidence_comes_only_when_asked_for(model_dir: Path) -> None:
    """With and without, the classes are the same; it adds one probability per pixel."""
    runtime = Runtime.open(model_dir / MODEL_FILE, device="cpu", threads=1)
    slices = np.random.default_rng(1).uniform(-50, 150, (3, 9, 7)).astype(np.float32)
    window = Window(0, 100)
    alone = runtime.segment(slices, window)
    segmentation, confidence = runtime.segment_rows_with_confidence(slices, window_rows(window, 3), lane=0)
    np.testing.assert_array_equal(alone, segmentation)
    np.testing.assert_array_equal(alone, run_offline(model_dir, slices, window))
    assert (confidence.shape, confidence.dtype) == ((3, 9, 7), np.float32)
    assert alone.max() < ORGANS.classes


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_an_error_when_asked_for(model_dir: Path) -> None:
    """Device cuda never becomes the CPU in silence."""
    with pytest.raises(RuntimeRefused, match="device cuda was asked for, but ONNX Runtime offers CPU"):
        Runtime.open(model_dir / MODEL_FILE, device="cuda")


@pytest.mark.parametrize("reference", ["ricefish", "ricefish@", "@champion", "ricefish/latest", "a/b@c", ""])
def test_a_registry_reference_that_is_none_is_explained(reference: str) -> None:
    """The message shows how one is written."""
    with pytest.raises(RegistryError, match="NAME@ALIAS or NAME/VERSION"):
        find_version(reference)


def test_a_registry_that_is_not_there_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without MLFLOW_TRACKING_URI and mlflow.db, the message names both."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"models:/ricefish@champion: .*MLFLOW_TRACKING_URI.*mlflow\.db"):
        _models(tmp_path).serve("models:/ricefish@champion")


@pytest.mark.process
def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    """`ricefish serve` with a damaged model: exit status 1, the reason on stderr, no traceback."""
    folder = write_model(tmp_path / "model")
    _wrong_hash(folder)
    command = [sys.executable, "-m", "ricefish", "serve", "--model", str(folder), "--store", str(tmp_path / "store")]
    ended = subprocess.run([*command, "--port", "0"], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "ricefish: " in ended.stderr.splitlines()[-1]
    assert "has SHA-256" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def _with_variant(tmp_path: Path, *, thresholds: tuple[float, float] = (0.3, 0.6)) -> Path:
    """A model whose int8 answers differently enough to be told apart."""
    folder = write_model(tmp_path / "model")
    (folder / "variants").mkdir()
    onnx.save(threshold_model(rounds=0, thresholds=thresholds), folder / "variants" / "int8.onnx")
    golden = ModelManifest.read(folder).golden
    session = Runtime.open(folder / "variants" / "int8.onnx", device="cpu", threads=1)
    answer = session.segment(golden.slice[None], golden.window)[0]
    variant = Variant("variants/int8.onnx", file_sha256(folder / "variants" / "int8.onnx"), 0.8, 0.8, 0.1, answer)
    _rewritten(folder, variants={"int8": variant})
    return folder


@pytest.mark.parametrize(("asked", "served"), [("auto", "int8"), ("int8", "int8"), ("float32", "float32")])
def test_a_checked_variant_is_served_on_the_cpu(tmp_path: Path, asked: str, served: str) -> None:
    """Unless float32 is asked for; it has to reproduce its own answer to the golden slice."""
    tuner = Tuner(tmp_path, overrides=TuningOverrides(threads=1, batch_size=1))
    models = Models(tmp_path / "kept", device="cpu", tuner=tuner, precision=asked)
    assert models.serve(str(_with_variant(tmp_path))).precision == served


def test_a_variant_that_is_not_there_or_not_right_is_refused(tmp_path: Path) -> None:
    """float16 that was never made, and an int8 whose file was changed."""
    folder = _with_variant(tmp_path)
    tuner = Tuner(tmp_path, overrides=TuningOverrides(threads=1, batch_size=1))
    with pytest.raises(ModelError, match="no float16 that passed its check; it has float32, int8"):
        Models(tmp_path / "kept", device="cpu", tuner=tuner, precision="float16").serve(str(folder))
    onnx.save(threshold_model(rounds=0, thresholds=(0.1, 0.9)), folder / "variants" / "int8.onnx")
    with pytest.raises(ModelError, match=r"int8\.onnx has SHA-256"):
        Models(tmp_path / "other", device="cpu", tuner=tuner).serve(str(folder))


class _Endless:
    """A network that nobody stops asking: with each batch another single slice is queued."""

    lanes = 1

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self.over = False

    def ask(self) -> None:
        slices = np.zeros((1, 4, 4), np.float32)
        self._batcher.submit(slices, window=Window(0, 1), network=self, urgency=Urgency.SLICE, stream="clients")

    def segment_rows(self, slices: NDArray[np.float32], windows: NDArray[np.float32], *, lane: int) -> Any:
        if not self.over:
            self.ask()
        return slices.astype(np.uint8)

    def segment_rows_with_confidence(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


class _OnlyQueued:
    """A model that can be asked through the queue alone."""

    lanes = 1

    def __init__(self, runtime: Runtime) -> None:
        self.segment_rows = runtime.segment_rows
        self.segment_rows_with_confidence = runtime.segment_rows_with_confidence


def test_a_golden_slice_takes_turns_with_single_slices(model_dir: Path) -> None:
    """A swap need not wait until nobody asks the old version any more."""
    golden = ModelManifest.read(model_dir).golden
    runtime = Runtime.open(model_dir / MODEL_FILE, device="cpu", threads=1)
    with closing(Batcher(lanes=1)) as batcher:
        endless = _Endless(batcher)
        endless.ask()
        endless.ask()
        answer = in_turn(batcher)(cast("Runtime", _OnlyQueued(runtime)), golden)
        endless.over = True
    assert (answer == golden.segmentation).all()
