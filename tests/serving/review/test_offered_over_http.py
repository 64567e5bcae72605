"""What a worker notes of each slice decides which is offered: with a Quality Classifier, and with confidence alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from scans.intensity import Window
from scans.model.drift import QUANTILES, Answer, Seen, SeenVolume
from scans.model.expected_dice import DiceCalibration
from scans.model.manifest import ModelManifest
from tests.serving.conftest import Example
from tests.serving.models import write_classifier, write_model
from tests.serving.running import RunningServer

CALIBRATION = DiceCalibration(0.9, lower=(-0.25, -1.0), middle=(0.5, -0.125), upper=(0.75, 0.0), volumes=20)
SEEN = SeenVolume(
    Window(-1000, 999), tuple(float(q) for q in np.linspace(0, 1, QUANTILES)), Answer((9, 9), (None,) * 2, 0.6)
)


def offered(folder: Path, model: Path, example: Example) -> dict[str, object]:
    server = RunningServer(folder, model, slab_slices=4).start()
    try:
        scan_id = server.post(example.path, example.path.name).json()["id"]
        assert server.until_ended(scan_id)["state"] == "succeeded", server.log
        content: dict[str, object] = server.get("/v1/reviews/next").json()
        return content
    finally:
        server.end()


@pytest.mark.process
def test_the_organ_of_the_least_dice_is_asked_about(tmp_path: Path, example: Example) -> None:
    """Of a heart as good as its slice, p, and an eye of 1 - p: (1 - |p - 1/2| / (1/2) + 1 - p) / 2 for the heart."""
    write_classifier(tmp_path / "models" / "quality_classifier", expected_dice=CALIBRATION)
    question = offered(tmp_path, write_model(tmp_path / "models" / "student"), example)
    grey = Window(float(example.grey.min()), float(example.grey.max())).normalise(example.grey)
    good = np.where((grey > 0.4) & (grey <= 0.7), grey, 0).mean(axis=(1, 2))
    doubt = (1 - np.abs(good - 0.5) / 0.5 + 1 - good) / 2
    assert question["slice_index"] == int(doubt.argmax())
    assert question["uncertainty"] == pytest.approx(doubt.max(), abs=1e-4)
    assert (question["organ"], question["organs"]) == ("heart", ["heart", "eye"])
    assert question["expected_dice"] == pytest.approx(good[doubt.argmax()], abs=1e-4)
    assert question["good"] == pytest.approx(good[doubt.argmax()], abs=1e-5)


@pytest.mark.process
def test_where_there_is_no_classifier_confidence_decides(tmp_path: Path, example: Example) -> None:
    """Of 11 slices the model is asked in the fifth; it is less sure of hearts, which are darker than eyes."""
    model = write_model(tmp_path / "model")
    dataclasses.replace(ModelManifest.read(model), seen=Seen((SEEN,) * 4)).write(model)
    question = offered(tmp_path, model, example)
    grey = Window(float(example.grey.min()), float(example.grey.max())).normalise(example.grey[4])
    confidence = (1 / (1 + np.exp(-grey[grey > 0.4]))).mean()
    assert (question["slice_index"], question["organ"], question["good"]) == (4, "heart", None)
    assert question["confidence"] == pytest.approx(confidence, abs=1e-4)
    assert question["uncertainty"] == pytest.approx(1 - confidence, abs=1e-4)
