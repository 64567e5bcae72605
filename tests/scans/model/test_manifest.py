"""Manifests: what is written is read back exactly, and what is wrong with one is named."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from scans.intensity import IntensityRule, Window
from scans.model.drift import QUANTILES, Answer, Seen, SeenVolume
from scans.model.manifest import MANIFEST_FILE, MODEL_FILE, Golden, ManifestError, ModelManifest, file_sha256
from scans.organs import OrganMap

MODEL = b"the bytes of a model"

slices = array_shapes(min_dims=2, max_dims=2).flatmap(
    lambda shape: st.tuples(
        arrays(np.float32, shape, elements=st.floats(width=32)),
        arrays(np.uint8, shape),
    )
)


def manifest(**changes: Any) -> ModelManifest:
    whole = ModelManifest(
        name="ricefish",
        kind="segmentation",
        organs=OrganMap.from_mapping({1: "heart", 2: {"name": "brain", "colour": [1, 2, 3]}}),
        intensity=IntensityRule(0.5, 99.5, Window(-100.0, 300.0)),
        model_sha256=hashlib.sha256(MODEL).hexdigest(),
        data_sha256="d" * 64,
        spacing_mm=((0.5, 3.0), (0.25, 1.0), (0.25, 1.0)),
        intensity_range=(-1024.0, 3071.0),
        golden=Golden(
            slice=np.array([[-1000.25, 0.1], [1e-7, 3071.0]], dtype=np.float32),
            window=Window(-100.0, 300.0),
            segmentation=np.array([[0, 1], [2, 0]], dtype=np.uint8),
        ),
        metrics={"mean_dice": 0.75},
        agreement={"slices": 64, "most_disagreement": 0.0},
        git_commit="c" * 40,
        git_dirty=True,
        mlflow_run="r" * 32,
    )
    return dataclasses.replace(whole, **changes)


def test_a_manifest_of_before_says_nothing_of_what_was_seen() -> None:
    """One that was written without the field is read; one with it is read back; a damaged one is named."""
    content = manifest().to_dict()
    del content["seen"]
    assert ModelManifest.from_dict(content).seen is None
    seen = Seen((SeenVolume(Window(0, 1), (0.5,) * QUANTILES, Answer((1.0, 0.0), ((1.0, 2.0, 3.0), None), 0.75)),))
    assert ModelManifest.from_dict(json.loads(json.dumps(manifest(seen=seen).to_dict()))).seen == seen
    with pytest.raises(ManifestError, match="field seen: 'volumes' is missing"):
        ModelManifest.from_dict({**content, "seen": {}})


def test_a_manifest_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """Every field survives the file, types included, and the golden arrays to the last bit."""
    written = manifest()
    assert written.write(tmp_path) == tmp_path / MANIFEST_FILE

    read = ModelManifest.read(tmp_path)

    for field in dataclasses.fields(ModelManifest):
        if field.name != "golden":
            assert getattr(read, field.name) == getattr(written, field.name), field.name
    assert read.golden.window == written.golden.window
    assert read.golden.good is None
    assert read.golden.slice.dtype == np.float32
    assert read.golden.segmentation.dtype == np.uint8
    np.testing.assert_array_equal(read.golden.slice, written.golden.slice)
    np.testing.assert_array_equal(read.golden.segmentation, written.golden.segmentation)


@given(arrays_=slices, good=st.none() | st.floats(0, 1))
def test_golden_arrays_are_exact(arrays_: tuple[NDArray[np.float32], NDArray[np.uint8]], good: float | None) -> None:
    """Any slice and answer, NaN and negative zero included, come back bit for bit through JSON."""
    golden = Golden(slice=arrays_[0], window=Window(0.0, 1.0), segmentation=arrays_[1], good=good)

    content = json.loads(json.dumps(manifest(golden=golden).to_dict()))
    read = ModelManifest.from_dict(content).golden

    assert read.slice.tobytes() == golden.slice.tobytes()
    assert read.slice.shape == golden.slice.shape
    np.testing.assert_array_equal(read.segmentation, golden.segmentation)
    assert read.good == good


def test_the_model_a_manifest_describes_is_accepted(tmp_path: Path) -> None:
    """A model with the hash that the manifest states passes."""
    (tmp_path / MODEL_FILE).write_bytes(MODEL)
    assert file_sha256(tmp_path / MODEL_FILE) == manifest().model_sha256
    manifest().verify(tmp_path)


def test_a_model_that_was_changed_is_refused(tmp_path: Path) -> None:
    """One byte more, or no model at all, and the manifest no longer vouches for it."""
    with pytest.raises(ManifestError, match=r"model\.onnx does not exist"):
        manifest().verify(tmp_path)
    (tmp_path / MODEL_FILE).write_bytes(MODEL + b"\0")
    with pytest.raises(ManifestError, match=r"has SHA-256 .*; the manifest says"):
        manifest().verify(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "unknown field colour"),
        ({"schema_version": 2}, "schema_version is 2; this reads 1"),
        ({"kind": "teacher"}, "field kind: 'teacher'; expected segmentation or quality"),
        ({"name": 3}, "field name: 3 is not of type str"),
        ({"git_dirty": "no"}, "field git_dirty"),
        ({"organs": {"2": "heart"}}, "field organs: organ indices"),
        ({"organs": ["heart"]}, "field organs"),
        ({"intensity": {"lower_percentile": 1, "upper_percentile": 99}}, "field intensity: 'fixed' is missing"),
        ({"intensity": {"lower_percentile": 9, "upper_percentile": 1, "fixed": None}}, "field intensity: percentiles"),
        ({"spacing_mm": [[1, 1], [1, 1]]}, "field spacing_mm"),
        ({"intensity_range": [1]}, "field intensity_range"),
        ({"metrics": {"mean_dice": "good"}}, "field metrics"),
        ({"threshold": "high"}, "field threshold"),
        ({"golden": {}}, "field golden: 'slice' is missing"),
    ],
)
def test_the_field_at_fault_is_named_with_the_file(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """A manifest written by hand or by another version says which field cannot be used."""
    path = tmp_path / MANIFEST_FILE
    path.write_text(json.dumps(manifest().to_dict() | change))
    with pytest.raises(ManifestError, match=message) as caught:
        ModelManifest.read(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("field", ["name", "organs", "golden", "model_sha256"])
def test_a_missing_field_is_named(field: str) -> None:
    """What has no default must be there."""
    content = manifest().to_dict()
    del content[field]
    with pytest.raises(ManifestError, match=f"field {field} is missing"):
        ModelManifest.from_dict(content)


def test_a_damaged_golden_slice_is_refused() -> None:
    """Packed arrays that were cut short or do not fit their shape name their field."""
    content = manifest().to_dict()
    content["golden"]["slice"]["shape"] = [3, 3]
    with pytest.raises(ManifestError, match="field golden"):
        ModelManifest.from_dict(content)
    content["golden"]["slice"]["zlib_base64"] = "AAAA"
    with pytest.raises(ManifestError, match="field golden"):
        ModelManifest.from_dict(content)


def test_a_golden_answer_of_another_shape_is_refused() -> None:
    """An answer must belong to its slice."""
    with pytest.raises(ValueError, match=r"segmentation is uint8 \(3, 2\)"):
        Golden(np.zeros((2, 2), np.float32), Window(0, 1), np.zeros((3, 2), np.uint8))
    with pytest.raises(ValueError, match="slice is float64"):
        Golden(np.zeros((2, 2)), Window(0, 1), np.zeros((2, 2), np.uint8))


def test_files_that_are_no_manifest_are_named(tmp_path: Path) -> None:
    """No file, no JSON and no object are three different messages."""
    with pytest.raises(ManifestError, match="does not exist"):
        ModelManifest.read(tmp_path)
    (tmp_path / MANIFEST_FILE).write_text("{")
    with pytest.raises(ManifestError, match="is not JSON"):
        ModelManifest.read(tmp_path)
    (tmp_path / MANIFEST_FILE).write_text("[1]")
    with pytest.raises(ManifestError, match="a manifest is a JSON object; this is list"):
        ModelManifest.read(tmp_path)


def test_a_metric_that_is_nan_is_never_written(tmp_path: Path) -> None:
    """A manifest with NaN is not JSON: the export fails instead, and leaves no manifest."""
    with pytest.raises(ValueError, match="JSON"):
        manifest(metrics={"mean_dice": float("nan")}).write(tmp_path)
    assert not (tmp_path / MANIFEST_FILE).exists()
