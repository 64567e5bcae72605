"""Stage evaluate, on networks that are rigged to known answers."""

import json
import logging
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from scans.geometry import Frame, Spacing
from scans.intensity import Window
from scans.organs import NOT_LABELLED
from scans.tiling import Forward
from scans.volume import Volume
from tests.training.tiny_volumes import ORGANS, write_catalogue, write_volume
from training.data.prepared import Catalogue, SliceReader, VolumeRecord
from training.evaluation.differences import differences
from training.evaluation.figure_slices import chosen_slices, overlay_rows
from training.evaluation.report import flat_figures, network_report, write_organs
from training.evaluation.scoring import score
from training.evaluation.tables import evaluation_tables
from training.params import Evaluate
from training.stages.evaluate import Segmenter, evaluate

LEFT, RIGHT, HEART = 1, 2, 3
SECTION = Evaluate(batch_size=3, surface_tolerance_mm=0.0, figure_slices=4)


def grey_of(labels: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """A scan whose grey values tell the answer: 100 more for each class."""
    return (100 + 100 * labels.astype(np.uint16)).astype(np.uint16)


def told() -> Segmenter:
    """A network that is always right."""

    def of_window(_window: Window) -> Forward:
        return lambda slices: ((slices - 100) // 100).astype(np.uint8)

    return of_window


def blind_to(organ: int) -> Segmenter:
    """A network that is right but for one organ, which it never sees."""

    def of_window(window: Window) -> Forward:
        def forward(slices: NDArray[Any]) -> NDArray[np.uint8]:
            labels = told()(window)(slices)
            return np.where(labels == organ, np.uint8(0), labels)

        return forward

    return of_window


def two_fish(tmp_path: Path) -> tuple[Catalogue, Path]:
    """Validation: `a` of spring with a left eye and a heart, `b` of autumn with a heart; and a training fish."""
    prepared = tmp_path / "prepared"
    a = np.zeros((4, 6, 8), dtype=np.uint8)
    a[1, 1:3, 1:3] = LEFT
    a[2:4, 2:5, 2:6] = HEART
    b = np.zeros((3, 6, 8), dtype=np.uint8)
    b[1, 2:4, 2:4] = HEART
    records = [
        replace(write_volume(prepared, "a", grey_of(a), a, split="validation"), experiment="spring"),
        replace(write_volume(prepared, "b", grey_of(b), b, split="validation"), experiment="autumn"),
        write_volume(prepared, "t", grey_of(b), b, split="train"),
    ]
    return write_catalogue(prepared, *records), prepared


def reports(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Of a Teacher that misses every heart, a control that misses left eyes, and a Student that is always right."""
    catalogue, prepared = two_fish(tmp_path)
    networks = {"teacher": blind_to(HEART), "control": blind_to(LEFT), "student": told()}
    scores = evaluate(networks, catalogue, SECTION, prepared_dir=prepared, output_dir=tmp_path / "out")
    return {name: network_report(of_network, catalogue.organs) for name, of_network in scores.items()}


def test_a_missed_organ_lowers_the_mean(tmp_path: Path) -> None:
    """Left eye 1, heart 0 twice, right eye nowhere: the mean is 1/2, not 1, and its absences are counted."""
    report = reports(tmp_path)
    teacher, student = report["teacher"], report["student"]
    assert (teacher["mean_dice"], teacher["mean_iou"]) == (0.5, 0.5)
    assert (student["mean_dice"], student["mean_iou"]) == (1.0, 1.0)
    assert teacher["organs"] == {
        "left_eye": {"dice": 1.0, "iou": 1.0, "left_out": 1},
        "right_eye": {"dice": None, "iou": None, "left_out": 2},
        "heart": {"dice": 0.0, "iou": 0.0, "left_out": 0},
    }
    assert set(teacher["volumes"]) == {"a", "b"}
    heart = teacher["volumes"]["a"]["organs"]["heart"]
    diagonal = 0.1 * (4**2 + 6**2 + 8**2) ** 0.5
    assert heart["hd95_mm"] == heart["assd_mm"] == pytest.approx(diagonal)
    assert heart["surface_dice"] == 0.0
    right = {"dice": 1.0, "iou": 1.0, "surface_dice": 1.0, "hd95_mm": 0.0, "assd_mm": 0.0}
    assert student["volumes"]["a"]["organs"]["heart"] == right
    assert (teacher["mean_surface_dice"], student["mean_surface_dice"]) == (0.5, 1.0)
    farther = 0.1 * (3**2 + 6**2 + 8**2) ** 0.5  # of the autumn fish; hearts are half the organs that are there
    assert teacher["mean_hd95_mm"] == pytest.approx((diagonal + farther) / 2 / 2)
    assert student["mean_hd95_mm"] == 0.0
    assert teacher["volumes"]["b"]["experiment"] == "autumn"


def test_experiments_are_scored_apart(tmp_path: Path) -> None:
    """The autumn fish has a heart alone: blind to it the Teacher has 0 there, and 1/2 on the spring fish."""
    teacher = reports(tmp_path)["teacher"]
    assert teacher["by_experiment"]["autumn"]["mean_dice"] == 0.0
    assert teacher["by_experiment"]["autumn"]["organs"]["left_eye"]["left_out"] == 1
    assert teacher["by_experiment"]["spring"]["mean_dice"] == 0.5


def test_what_is_written_and_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What JSON keeps as it is, a CSV line per network and organ with empty fields for none, and a table."""
    monkeypatch.chdir(tmp_path)
    report = reports(tmp_path)
    file = tmp_path / "plots" / "organs.csv"
    write_organs(file, report)
    assert json.loads(json.dumps(report)) == report
    rows = [line.split(",") for line in file.read_text(encoding="utf-8").splitlines()]
    assert rows[0] == ["network", "organ", "dice", "iou", "surface_dice", "hd95_mm", "assd_mm", "left_out"]
    assert rows[2] == ["teacher", "right_eye", "", "", "", "", "", "2"]
    assert rows[9] == ["student", "heart", "1.0", "1.0", "1.0", "0.0", "0.0", "0"]
    assert len(rows) == 10
    overlap, surfaces, compared = (printed(table) for table in evaluation_tables(report, differences(report, seed=1)))
    assert overlap["heart"] == ["0.000", "1.000", "1.000"] * 2 + ["0"]
    assert overlap["left_eye"] == ["1.000", "0.000", "1.000"] * 2 + ["1"]
    assert overlap["right_eye"] == surfaces["right_eye"] == ["none"] * 6 + ["2"]
    assert overlap["mean"] == ["0.500", "0.500", "1.000"] * 2
    assert surfaces["mean"][:3] == ["0.500", "0.500", "1.000"]
    assert compared["Student"][:3] == ["+0.500"] * 3
    assert compared["Control"][:3] == ["+0.000"] * 3
    assert compared["No"][:4] == ["interval:", "2", "validation", "volumes;"]


def printed(table: Table) -> dict[str, list[str]]:
    """The words of each line by the first of them, on a screen of 80 columns."""
    console = Console(width=80, record=True, file=StringIO())
    console.print(table)
    return {line.split()[0]: line.split()[1:] for line in console.export_text().splitlines() if line.strip()}


def test_no_validation_volume_is_an_error(tmp_path: Path) -> None:
    """A data set without validation volumes cannot be measured on, and the message names the folder."""
    labels = np.ones((1, 4, 4), dtype=np.uint8)
    catalogue = write_catalogue(tmp_path, write_volume(tmp_path, "t", grey_of(labels), labels, split="train"))
    with pytest.raises(ValueError, match="holds no validation volume"):
        evaluate({"student": told()}, catalogue, SECTION, prepared_dir=tmp_path, output_dir=tmp_path / "out")


def test_a_volume_is_scored_where_it_is_labelled() -> None:
    """With every second slice labelled, what is predicted between them changes nothing, and no organ has a distance."""
    truth = np.full((4, 5, 5), NOT_LABELLED, dtype=np.uint8)
    truth[::2] = 0
    truth[0, 1:3, 1:3] = HEART
    frame = Frame.from_lps(Spacing(z=0.5, y=0.1, x=0.1))
    record = VolumeRecord("v", "", "validation", (4, 5, 5), frame.affine, Window(0, 1), source="", sha256="")
    for between in (0, 1, HEART):
        prediction = np.full((4, 5, 5), between, dtype=np.uint8)
        prediction[::2] = 0
        prediction[0, 1:3, 1] = HEART
        guess, known = Volume.from_array(prediction, frame), Volume.from_array(truth, frame)
        found = score(record, prediction=guess, truth=known, organs=ORGANS)
        assert found.scores.dice == {"left_eye": None, "right_eye": None, "heart": 2 * 2 / (2 + 4)}
        assert {distances.hd95_mm for distances in found.distances.values()} == {None}
    report = network_report([found], ORGANS)
    assert (report["mean_hd95_mm"], report["mean_surface_dice"]) == (None, None)
    assert not {"mean_hd95_mm", "mean_surface_dice"} & set(flat_figures(report))
    compared = differences(dict.fromkeys(("teacher", "control", "student"), report), seed=1)["student-teacher"]
    assert compared["hd95_mm"].interval_missing == "no volume has the figure"


def test_a_volume_is_scored_over_slab_borders() -> None:
    """A heart across the border of two slabs, found one slice lower: Dice by hand, surfaces one voxel apart at most."""
    truth = np.zeros((130, 5, 5), dtype=np.uint8)
    truth[62:66, 1:4, 1:4] = HEART
    prediction = np.roll(truth, -1, axis=0)
    frame = Frame.from_lps(Spacing(z=0.5, y=0.1, x=0.1))
    record = VolumeRecord("v", "", "validation", (130, 5, 5), frame.affine, Window(0, 1), source="", sha256="")
    found = score(
        record, prediction=Volume.from_array(prediction, frame), truth=Volume.from_array(truth, frame), organs=ORGANS
    )
    assert found.scores.dice["heart"] == 2 * 3 / (4 + 4)
    assert found.scores.iou["heart"] == 3 / 5
    assert found.scores.dice["left_eye"] is None
    assert found.distances["left_eye"].assd_mm is None
    assert found.distances["heart"].hd95_mm == pytest.approx(0.5)
    assert found.distances["heart"].surface_dice == 1.0  # a voxel of 0.5 mm is what the tolerance is
    with pytest.raises(ValueError, match=r"v: the prediction has shape \(2, 5, 5\)"):
        score(
            record,
            prediction=Volume.from_array(prediction[:2], frame),
            truth=Volume.from_array(truth, frame),
            organs=ORGANS,
        )


def test_the_overlay_shows_what_was_not_shown_yet(tmp_path: Path) -> None:
    """Experiments take turns, no slice comes twice, and an organ not seen yet comes before one seen already."""
    catalogue, prepared = two_fish(tmp_path)
    reader = SliceReader(prepared, cache_megabytes=1)
    chosen = [(record.id, index) for record, index in chosen_slices(catalogue.split("validation"), 6, reader=reader)]
    assert chosen == [("a", 1), ("b", 1), ("a", 2), ("a", 3)]


def test_overlay_rows_hold_truth_and_every_network(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rows carry the slice, the labels, what each network said of it, and its IoU where there is one."""
    catalogue, prepared = two_fish(tmp_path)
    out = tmp_path / "out"
    networks = {"teacher": blind_to(HEART), "student": told()}
    with caplog.at_level(logging.WARNING):
        evaluate(networks, catalogue, SECTION, prepared_dir=prepared, output_dir=out)
    first, second, *_ = overlay_rows(catalogue, ("teacher", "student"), out, prepared_dir=prepared, count=4)
    assert first.title == "a\nspring\nslice 1"
    assert list(second.segmentations) == ["truth", "Teacher", "Student"]
    assert not second.segmentations["Teacher"].any()
    assert np.array_equal(second.segmentations["Student"], second.segmentations["truth"])
    assert second.captions == {"Teacher": "IoU 0.00", "Student": "IoU 1.00"}
    assert not caplog.records
