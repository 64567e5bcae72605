"""A scan that is unlike what its model has seen is segmented, and gets a warning; an ordinary one gets none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from harness.offline import run_offline
from scans.intensity import Window
from scans.model.drift import QUANTILES, Answer, Seen, SeenVolume
from scans.model.manifest import ModelManifest
from tests.serving.conftest import Example
from tests.serving.models import write_model
from tests.serving.running import RunningServer

TILTED = np.array([[0.5, 0, 0, 0], [0, 0.75, 0.375, 0], [0, 0, np.sqrt(1.5**2 - 0.375**2), 0], [0, 0, 0, 1]])
"""Spacing as of the example; each slice lies half a pixel beside the one below it."""


def with_seen(folder: Path, example: Example) -> Path:
    """A model that has seen four volumes like the example: its grey values, organs and confidence, spacing aside."""
    segmentation = run_offline(folder, example.grey.astype(np.float32), Window(-1000, 999))
    sizes = [float(np.count_nonzero(segmentation == organ)) * 1.5 * 0.75 * 0.51 for organ in (1, 2)]
    ramp = tuple(float(q) for q in (np.arange(QUANTILES) + 0.5) / QUANTILES)
    answer = Answer((sizes[0], sizes[1]), (None, None), 0.65)
    volumes = tuple(SeenVolume(Window(-1000.0 + n, 999.0 + n), ramp, answer) for n in range(4))
    spacing = ((1.4, 1.6), (0.7, 0.8), (0.5, 0.6))
    dataclasses.replace(ModelManifest.read(folder), seen=Seen(volumes), spacing_mm=spacing).write(folder)
    return folder


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory, example: Example, processes: None) -> Iterator[RunningServer]:
    """A server whose model says what it has seen."""
    folder = tmp_path_factory.mktemp("knowing")
    running = RunningServer(folder, with_seen(write_model(folder / "model"), example), slab_slices=4)
    yield running.start()
    running.end()


def test_an_ordinary_scan_gets_no_warning(knowing: RunningServer, example: Example) -> None:
    """Its grey values, spacing, confidence and organs are those that the model has seen."""
    status = knowing.until_ended(knowing.post(example.path, "fish.nii.gz").json()["id"])
    assert (status["warnings"], status["flagged"]) == ([], False)


@pytest.mark.parametrize(
    ("change", "affine", "expected"),
    [
        (lambda grey: grey * 3, None, {"grey_range"}),
        (lambda grey: np.where(grey < 400, -1000, grey), None, {"grey_distribution", "organ_sizes"}),
        (lambda grey: grey, np.diag([3.0, 0.75, 1.5, 1.0]), {"spacing", "organ_sizes"}),
        (lambda grey: grey, TILTED, {"shear"}),
        (lambda grey: np.where(grey < 995, -1000, grey), None, {"grey_distribution", "organ_sizes"}),
    ],
)
def test_what_is_unlike_the_training_is_said_of_a_scan(
    knowing: RunningServer,
    example: Example,
    tmp_path: Path,
    change: Callable[[np.ndarray], np.ndarray],
    affine: np.ndarray | None,
    expected: set[str],
) -> None:
    """Other grey values and spacings as soon as it is accepted; other sizes of organs when it is segmented."""
    original = nib.load(example.path)
    path = tmp_path / "other.nii.gz"
    nib.save(
        nib.Nifti1Image(change(example.grey).T.astype(np.int16), original.affine if affine is None else affine), path
    )
    accepted = knowing.post(path, "other.nii.gz").json()
    at_once = {warning["code"] for warning in accepted["warnings"]}
    assert at_once == expected & {"grey_range", "grey_distribution", "spacing", "shear"}
    knowing.until_ended(accepted["id"])
    ended = knowing.get(f"/v1/scans/{accepted['id']}").json()
    assert {warning["code"] for warning in ended["warnings"]} == expected
    assert all(warning["found"] and warning["expected"] and warning["message"] for warning in ended["warnings"])
    text = knowing.get("/metrics").text
    assert all(f'ricefish_drift_warnings_total{{code="{code}",model="thresholds"}}' in text for code in expected)
