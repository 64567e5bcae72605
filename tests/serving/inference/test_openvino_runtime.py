"""A model computed by OpenVINO answers as by ONNX Runtime, for any shape, and says when memory runs out."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from serving.inference.runtime.memory import OutOfDeviceMemory
from serving.inference.runtime.openvino_runtime import OpenVinoRuntime
from serving.inference.runtime.segmentation import Runtime, window_rows
from serving.inference.runtime.session import RuntimeRefused
from tests.serving.models import GOLDEN_WINDOW, heart_model, threshold_model

GREY = np.random.default_rng(1).integers(-20, 120, (6, 40, 56)).astype(np.float32)


class Slices(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime publishes no types
    def __init__(self) -> None:
        self._feeds: Iterator[dict[str, Any]] = iter(
            [{"slices": GREY, "window": window_rows(GOLDEN_WINDOW, len(GREY))}]
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


@pytest.fixture(scope="module", params=["float32", "int8"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution, in float32 and in the int8 that export makes."""
    path = tmp_path_factory.mktemp("convolution") / "model.onnx"
    onnx.save(threshold_model(rounds=1, thresholds=(0.4, 0.7)), path)
    if request.param == "float32":
        return path
    quantize_static(
        path,
        path.with_name("int8.onnx"),
        Slices(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return path.with_name("int8.onnx")


def test_it_answers_like_onnx_runtime(model: Path) -> None:
    """Batches and sides of any size, with confidence and without, in two lanes at the same time."""
    theirs, ours = Runtime.open(model, device="cpu", threads=1), OpenVinoRuntime.open(model, threads=1, lanes=2)
    assert (ours.engine, ours.provider, ours.lanes) == ("openvino", theirs.provider, 2)
    assert ours.pixel_bytes == theirs.pixel_bytes
    pieces = [GREY, GREY[:1], GREY[:3, :17, :31], GREY[:, ::2, ::3]]

    def segmented(lane: int) -> list[Any]:
        return [ours.segment_rows(_row(piece), window_rows(GOLDEN_WINDOW, len(piece)), lane=lane) for piece in pieces]

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(segmented, range(2))
    for piece, one, other in zip(pieces, first, second, strict=True):
        windows = window_rows(GOLDEN_WINDOW, len(piece))
        segmentation, confidence = theirs.segment_rows_with_confidence(_row(piece), windows, lane=0)
        np.testing.assert_array_equal(one, segmentation)
        np.testing.assert_array_equal(other, segmentation)
        said, sure = ours.segment_rows_with_confidence(_row(piece), windows, lane=1)
        np.testing.assert_array_equal(said, segmentation)
        np.testing.assert_allclose(sure, confidence, atol=1e-6)
        np.testing.assert_array_equal(ours.segment(piece, GOLDEN_WINDOW), segmentation)
    assert set(np.unique(first[0])) == {0, 1, 2}


def _row(piece: Any) -> Any:
    return np.ascontiguousarray(piece)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_it_takes_slices_in_the_grey_type_that_they_have(model: Path, dtype: type) -> None:
    """As the queue brings them: the answer is that of the same values in float32."""
    runtime = OpenVinoRuntime.open(model, threads=1)
    grey = GREY.clip(0).astype(dtype)
    windows = window_rows(GOLDEN_WINDOW, len(grey))
    expected = runtime.segment_rows(grey.astype(np.float32), windows, lane=0)
    np.testing.assert_array_equal(runtime.segment_rows(grey, windows, lane=0), expected)


def test_no_memory_is_told_from_other_errors(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In OpenVINO's own words; the batch is then computed in halves, as with ONNX Runtime."""
    runtime = OpenVinoRuntime.open(model, threads=1)

    class NoMemory:
        def infer(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("Check 'ptr' failed at cpu_memory.cpp:257:\nFailed to allocate 16777216 bytes of memory")

    object.__setattr__(runtime._segmenting[0], "request", NoMemory())
    with pytest.raises(OutOfDeviceMemory, match="6 slices of 40 x 56 pixels"):
        runtime.segment(GREY, GOLDEN_WINDOW)


def test_what_is_no_model_of_the_contract_is_refused(tmp_path: Path) -> None:
    """Another kind of model, by its inputs; a file that is none."""
    onnx.save(heart_model(), tmp_path / "quality.onnx")
    (tmp_path / "none.onnx").write_bytes(b"not a model")
    with pytest.raises(RuntimeRefused, match="a segmentation model has"):
        OpenVinoRuntime.open(tmp_path / "quality.onnx", threads=1)
    with pytest.raises(RuntimeRefused, match="not a model that OpenVINO can load"):
        OpenVinoRuntime.open(tmp_path / "none.onnx", threads=1)
