"""Which library computes a model in which precision: only what answers as at export, and what else there is if not."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest

from scans.model.manifest import ModelManifest, Variant, file_sha256
from serving.inference.runtime.openvino_runtime import OpenVinoRuntime
from serving.inference.runtime.segmentation import Runtime
from serving.inference.runtime.session import RuntimeRefused
from serving.inference.tuning import Tuner, TuningOverrides
from serving.models.served import LoadedModel, ModelError, Models
from tests.serving.in_process import running_app
from tests.serving.models import threshold_model, write_model

Asked = Literal["auto", "onnxruntime", "openvino"]
RATES = {("float32", "onnxruntime"): 20, ("float32", "openvino"): 21, ("int8", "onnxruntime"): 50}
"""Slices a second, as they are measured here; 80 by OpenVINO in int8."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with an int8 that differs from float32 in some pixels."""
    folder = write_model(tmp_path / "model")
    (folder / "variants").mkdir()
    file = folder / "variants" / "int8.onnx"
    onnx.save(threshold_model(rounds=0, thresholds=(0.35, 0.7)), file)
    manifest = ModelManifest.read(folder)
    golden = manifest.golden
    answer = Runtime.open(file, device="cpu", threads=1).segment(golden.slice[None], golden.window)[0]
    share = float(np.mean(answer != golden.segmentation))
    assert share > 0.01
    variant = Variant("variants/int8.onnx", file_sha256(file), 0.8, 0.8, share, answer)
    dataclasses.replace(manifest, variants={"int8": variant}).write(folder)
    return folder


@pytest.fixture(autouse=True)
def rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """What measuring finds."""

    def rate(runtime: Any, golden: object, batch: int) -> float:
        precision = "int8" if "int8" in paths[id(runtime)] else "float32"
        return RATES.get((precision, runtime.engine), 80.0) * (1.1 if runtime.lanes > 1 else 1.0)

    paths: dict[int, str] = {}
    kept: list[Any] = []
    for kind in (Runtime, OpenVinoRuntime):

        def opened(path: Path, *, whole: Any = kind.open, **given: Any) -> Any:
            runtime = whole(path, **given)
            paths[id(runtime)] = path.name
            kept.append(runtime)
            return runtime

        monkeypatch.setattr(kind, "open", opened)
    monkeypatch.setattr("serving.inference.tuning._slices_per_second", rate)


def served(
    tmp_path: Path, folder: Path, *, engine: Asked = "auto", precision: Any = "auto", threads: int = 1
) -> LoadedModel:
    tuner = Tuner(tmp_path, overrides=TuningOverrides(threads=threads, batch_size=0))
    models = Models(tmp_path / "kept", device="cpu", tuner=tuner, precision=precision, engine=engine)
    return models.serve(str(folder))


@pytest.mark.parametrize(
    ("precision", "engine", "chosen"),
    [
        ("auto", "auto", ("int8", "openvino")),
        ("auto", "onnxruntime", ("int8", "onnxruntime")),
        ("float32", "auto", ("float32", "onnxruntime")),
        ("float32", "openvino", ("float32", "openvino")),
    ],
)
def test_the_fastest_of_what_may_be_is_served(
    tmp_path: Path, folder: Path, precision: str, engine: Asked, chosen: tuple[str, str]
) -> None:
    """Among all, or among what settings leave; the model says what it is, and what it was chosen among."""
    model = served(tmp_path, folder, engine=engine, precision=precision)
    assert (model.precision, model.runtime.engine) == chosen
    among = {(one.precision, one.engine) for one in model.tuning.compared}
    assert among == {
        (one, other)
        for one in ("float32", "int8")
        for other in ("onnxruntime", "openvino")
        if precision in (one, "auto") and engine in (other, "auto")
    }


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_what_runs_in_lanes_is_there_once_more_on_all_processors(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, engine: Asked
) -> None:
    """For a slice that is alone; with the same answer. What has all processors anyway is there once."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    model = served(tmp_path, folder, engine=engine, threads=0)
    assert (model.runtime.lanes, model.tuning.threads) == (2, 1)
    assert model.alone is not None and (model.alone.lanes, model.alone.engine) == (1, engine)
    golden = model.manifest.golden
    np.testing.assert_array_equal(
        model.alone.segment(golden.slice[None], golden.window), model.runtime.segment(golden.slice[None], golden.window)
    )
    assert served(tmp_path / "other", folder, engine=engine, threads=2).alone is None


def test_a_library_that_answers_otherwise_is_refused_and_said_to_be(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """OpenVINO's, which would be the fastest, gives background everywhere: ONNX Runtime's int8 is served instead."""
    monkeypatch.setattr(
        OpenVinoRuntime, "segment_rows", lambda self, slices, windows, *, lane: np.zeros(slices.shape, np.uint8)
    )
    model = served(tmp_path, folder)
    assert (model.precision, model.runtime.engine) == ("int8", "onnxruntime")
    refused = [one for one in model.tuning.compared if one.refused]
    assert [(one.precision, one.engine) for one in refused] == [("float32", "openvino"), ("int8", "openvino")]
    assert all("does not reproduce its golden slice" in str(one.refused) for one in refused)
    with pytest.raises(ModelError, match=r"in int8 by openvino: .* may; the file or the installation is damaged"):
        served(tmp_path / "other", folder, engine="openvino", precision="int8")


def test_what_could_be_measured_and_cannot_be_loaded_any_more_is_replaced(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A choice that is remembered: the next start goes on with ONNX Runtime, and logs why."""
    assert served(tmp_path, folder).runtime.engine == "openvino"

    def broken(path: Path, **_: Any) -> Any:
        raise RuntimeRefused("OpenVINO cannot be used: libtbb.so.12 is not there")

    monkeypatch.setattr(OpenVinoRuntime, "open", broken)
    model = served(tmp_path, folder)
    assert (model.precision, model.runtime.engine) == ("int8", "onnxruntime")
    said = [record for record in caplog.records if record.message == "candidate_refused"]
    assert "libtbb.so.12" in str(vars(said[-1])["ricefish_fields"]["reason"])


def test_without_openvino_onnx_runtime_computes(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on processors that it was not built for; who asks for it is told."""
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "openvino" else found(name))
    model = served(tmp_path, folder)
    assert (model.precision, model.runtime.engine) == ("int8", "onnxruntime")
    with pytest.raises(ModelError, match="RICEFISH_ENGINE is openvino, which is not installed here"):
        served(tmp_path, folder, engine="openvino")


def test_a_server_says_what_computes_and_answers_a_lone_slice_with_all_processors(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In /v1/models, with the rates of all candidates."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    with running_app(tmp_path, folder, device="cpu", threads=0, batch_size=0) as app:
        (model,) = app.ask("GET", b"/v1/models").json()["models"]
        assert (model["precision"], model["engine"], model["lanes"], model["threads"]) == ("int8", "openvino", 2, 1)
        found = {(one["precision"], one["engine"]): one["slices_per_second"] for one in model["compared"]}
        assert found[("int8", "openvino")] == pytest.approx(88)
        assert [one["refused"] for one in model["compared"]] == [None] * 4
        loaded, golden = app.resources.models.current, ModelManifest.read(folder).golden
        batches: list[str] = []
        for name, runtime in (("alone", loaded.alone), ("shared", loaded.runtime)):

            def counted(*given: Any, whole: Any = runtime.segment_rows, of: str = name, **how: Any) -> Any:
                batches.append(of)
                return whole(*given, **how)

            object.__setattr__(runtime, "segment_rows", counted)
        window = np.array([[golden.window.lower, golden.window.upper]], np.float32)
        inputs = [
            {"name": name, "shape": list(array.shape), "datatype": "FP32", "data": array.ravel().tolist()}
            for name, array in (("slices", golden.slice[None]), ("window", window))
        ]
        body = json.dumps({"inputs": inputs, "outputs": [{"name": "segmentation"}]}).encode()
        answer = app.ask("POST", b"/v2/models/thresholds/infer", body=body).json()["outputs"][0]["data"]
        assert batches == ["alone"]
        assert answer == loaded.manifest.variants["int8"].segmentation.ravel().tolist()
