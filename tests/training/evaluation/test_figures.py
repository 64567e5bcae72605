"""The figures: that they are drawn from what they are given, whatever is missing, and the same each time."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray

from scans.intensity import Window
from tests.training.tiny_volumes import ORGANS
from training.evaluation.figures import (
    OrganBars,
    OverlayRow,
    draw_curves,
    draw_organs,
    draw_overlays,
    draw_roc,
    read_columns,
)
from training.quality.roc import RocCurve


def pixels(path: Path) -> NDArray[np.uint8]:
    picture = mpl.image.imread(path)
    return np.rint(255 * np.asarray(picture)[..., :3]).astype(np.uint8)


def count_of(path: Path, colour: tuple[int, int, int]) -> int:
    return int((pixels(path) == colour).all(axis=-1).sum())


def row(truth: NDArray[np.uint8], student: NDArray[np.uint8], *, aspect: float = 1.0) -> OverlayRow:
    grey = np.full(truth.shape, 50.0, dtype=np.float32)
    return OverlayRow(
        "fish\nslice 3", grey, aspect, Window(0, 100), {"truth": truth, "Student": student}, {"Student": "IoU 0.5"}
    )


def test_overlays_show_each_organ_where_it_is(tmp_path: Path) -> None:
    """A heart that the Student misses is in the truth's column alone; its colour is also in the legend, once."""
    truth = np.zeros((20, 20), dtype=np.uint8)
    truth[5:15, 5:15] = 3
    draw_overlays(tmp_path / "o.png", [row(truth, np.zeros_like(truth))] * 2, ORGANS)
    picture = pixels(tmp_path / "o.png").astype(int)
    red, green, blue = ORGANS.organs[2].colour
    near = np.abs(picture - (red, green, blue)).sum(axis=-1) < 60
    width = picture.shape[1]
    pictures = near[: picture.shape[0] * 3 // 4]
    assert pictures[:, width // 2 - width // 8 : width // 2 + width // 6].sum() > 500
    assert pictures[:, width * 3 // 4 :].sum() == 0
    assert near[-80:].sum() > 100


def test_overlays_have_the_proportions_of_the_scan(tmp_path: Path) -> None:
    """Half as many rows, each twice as high, make the same picture: an organ is as high as it is wide in mm."""
    truth = np.zeros((20, 20), dtype=np.uint8)
    truth[4:16, 4:16] = 3
    draw_overlays(tmp_path / "fine.png", [row(truth, truth)], ORGANS)
    draw_overlays(tmp_path / "coarse.png", [row(truth[::2], truth[::2], aspect=2.0)], ORGANS)
    fine, coarse = pixels(tmp_path / "fine.png").astype(int), pixels(tmp_path / "coarse.png").astype(int)
    assert fine.shape == coarse.shape
    assert (np.abs(fine - coarse).max(axis=-1) > 60).mean() < 0.03  # contours, which are a voxel wide


def test_overlays_need_a_slice(tmp_path: Path) -> None:
    """No slice, no figure: an error that names the file."""
    with pytest.raises(ValueError, match=r"o\.png needs at least one slice"):
        draw_overlays(tmp_path / "o.png", [], ORGANS)


BARS = {
    "teacher": OrganBars("Teacher", {"heart": 0.25, "gut": None}, 0.25, {"heart": (0.0, 0.5), "gut": ()}),
    "control": OrganBars("Control", {"heart": 0.4, "gut": None}, 0.4, {"heart": (0.4, 0.4), "gut": ()}),
    "student": OrganBars("Student", {"heart": 0.5, "gut": None}, 0.5, {"heart": (0.5, 0.5), "gut": ()}),
}


def test_a_bar_is_as_long_as_its_score(tmp_path: Path) -> None:
    """0.5, 0.4 and 0.25: of the pixels the Student's bar has about twice the Teacher's; absent organs do no harm."""
    draw_organs(tmp_path / "b.png", BARS, left_out={"heart": 0, "gut": 2})
    colours = ((0x8F, 0xA3, 0xB8), (0x4C, 0x9F, 0x70), (0xE0, 0x57, 0x2F))
    teacher, control, student = (count_of(tmp_path / "b.png", colour) for colour in colours)
    assert 1.6 < student / teacher < 2.2
    assert 1.3 < control / teacher < 1.9


def test_figures_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    """Drawing twice gives the same file, so that DVC sees no change where there is none."""
    for name in ("1.png", "2.png"):
        draw_organs(tmp_path / name, BARS, left_out={"heart": 0, "gut": 2})
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


def test_curves_are_drawn_from_what_is_there(tmp_path: Path) -> None:
    """A panel for each table that exists: two are wider than one, a missing table is left out, none is still a file."""
    (tmp_path / "t.csv").write_text("epoch,step,learning_rate,loss,dice_loss\n1,10,0.1,2.0,0.9\n2,20,0.1,1.0,0.5\n")
    tables = {"Teacher": tmp_path / "t.csv", "Student": tmp_path / "missing.csv"}
    draw_curves(tmp_path / "one.png", tables)
    draw_curves(tmp_path / "two.png", {**tables, "Student": tmp_path / "t.csv"})
    draw_curves(tmp_path / "none.png", {})
    one, two = (pixels(tmp_path / name).shape[1] for name in ("one.png", "two.png"))
    assert two > 1.6 * one
    assert (tmp_path / "none.png").stat().st_size > 0


def test_a_curve_of_one_kind_is_drawn_and_says_why(tmp_path: Path) -> None:
    """Held-out examples that are all bad have no ROC, which the figure says in place of an area."""
    for name, good in (("bad", [False, False]), ("both", [False, True])):
        roc = RocCurve.of(np.array([0.2, 0.7]), np.array(good))
        roc.write(tmp_path / f"{name}.csv")
        draw_roc(
            tmp_path / f"{name}.png", tmp_path / f"{name}.csv", threshold=0.5, auc=roc.auc, missing=roc.auc_missing
        )
    purple = (0x5B, 0x3E, 0x96)
    assert count_of(tmp_path / "both.png", purple) > count_of(tmp_path / "bad.png", purple) + 500


def test_tables_are_read_as_numbers(tmp_path: Path) -> None:
    """Empty fields are NaN, infinity is read, a missing file and a header alone are nothing."""
    (tmp_path / "t.csv").write_text("a,b\ninf,\n0.5,1\n")
    table = read_columns(tmp_path / "t.csv")
    assert table["a"] == [float("inf"), 0.5]
    assert np.isnan(table["b"][0])
    (tmp_path / "h.csv").write_text("a,b\n")
    assert read_columns(tmp_path / "h.csv") == read_columns(tmp_path / "missing.csv") == {}
