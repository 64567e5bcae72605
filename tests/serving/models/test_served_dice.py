"""The Dice that a served Quality Classifier expects of organs, and classifiers that cannot say what they promise."""

from __future__ import annotations

import csv
import dataclasses
import io
import signal
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from harness.offline import run_offline
from ricefish.cli.segment import organ_table
from ricefish.client import Client
from scans.intensity import Window
from scans.model.expected_dice import DiceCalibration, ExpectedDice
from scans.model.manifest import ManifestError, ModelManifest
from serving.models.quality_classifier import QualityRuntime
from tests.serving.conftest import Example
from tests.serving.models import write_classifier, write_model
from tests.serving.running import RunningServer

CALIBRATION = DiceCalibration(0.9, lower=(-0.25, -1.0), middle=(0.5, -0.125), upper=(0.75, 0.0), volumes=20)


@pytest.mark.process
def test_an_organ_has_an_expected_dice_with_bounds(tmp_path: Path, example: Example) -> None:
    """What the classifier says of it, weighted by its voxels, and changed as the manifest says; the same as CSV, and
    after a restart with another model."""
    write_classifier(tmp_path / "models" / "quality_classifier", expected_dice=CALIBRATION)
    server = RunningServer(tmp_path, write_model(tmp_path / "models" / "student"), slab_slices=4).start()
    try:
        scan_id: str = server.post(example.path, example.path.name).json()["id"]
        assert server.until_ended(scan_id)["state"] == "succeeded", server.log
        window = Window(float(example.grey.min()), float(example.grey.max()))
        segmentation = run_offline(server.model, example.grey.astype(np.float32), window)
        hearts = np.where(segmentation == 1, window.normalise(example.grey), 0)
        good = hearts.mean(axis=(1, 2))
        server.end()
        server.set(model=write_model(tmp_path / "others" / "student"))
        server.start()
        answer = server.get(f"/v1/scans/{scan_id}/organs").json()
        assert answer["quality_rate"] == 0.9
        table = csv.DictReader(io.StringIO(server.get(f"/v1/scans/{scan_id}/organs?format=csv").text))
        for row, line, of_slices in zip(answer["organs"], table, (good, 1 - good), strict=True):
            voxels = np.count_nonzero(segmentation == row["index"], axis=(1, 2))
            expected = CALIBRATION.expected(row["index"], float(voxels @ of_slices / voxels.sum()))
            found = (row["quality"], row["quality_low"], row["quality_high"])
            assert found == pytest.approx((expected.dice, expected.low, expected.high), abs=2e-6)
            assert tuple(float(line[f"quality{end}"]) for end in ("", "_low", "_high")) == found
            assert row["quality_low"] <= row["quality"] <= row["quality_high"]
        with Client(server.url) as client:
            organs = client.organs(scan_id)
        first = answer["organs"][0]
        expected = ExpectedDice(first["quality"], first["quality_low"], first["quality_high"])
        assert organs[0].expected_dice == expected
        console = Console(width=120, file=io.StringIO(), record=True)
        console.print(organ_table(organs))
        assert f"{expected.dice:.2f} ({expected.low:.2f}-{expected.high:.2f})" in console.export_text()
    finally:
        server.end(signal.SIGKILL)


def test_a_classifier_that_cannot_say_what_its_manifest_promises_is_refused(tmp_path: Path) -> None:
    """One without the output, and one whose bounds are of other organs."""
    silent = write_classifier(tmp_path / "silent" / "quality_classifier")
    dataclasses.replace(ModelManifest.read(silent), expected_dice=CALIBRATION).write(silent)
    with pytest.raises(ManifestError, match="has expected_dice, but no output dice"):
        QualityRuntime.load(silent.parent, device="cpu")
    one = DiceCalibration(0.9, (0.0,), (0.0,), (0.0,), 20)
    other = write_classifier(tmp_path / "other" / "quality_classifier", expected_dice=one)
    with pytest.raises(ManifestError, match="expected_dice is of 1 organs; the model judges 2"):
        QualityRuntime.load(other.parent, device="cpu")
