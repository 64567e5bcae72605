"""`ricefish atlas` on files and on scans of a real server: tables, the page, and what becomes of bad files."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ricefish.cli.app import app
from ricefish.client import Client
from scans.formats import create_volume
from scans.geometry import Frame, Spacing
from scans.model.expected_dice import DiceCalibration
from tests.ricefish.atlas.made_fish import save
from tests.scans.shape.ellipsoids import FISH, ORGANS, Ellipsoid, fish_volume, rotation
from tests.serving.models import write_classifier, write_model
from tests.serving.running import RunningServer

COARSE = Spacing(0.3, 0.3, 0.3)
CALIBRATION = DiceCalibration(0.9, (-0.2, -0.2), (0.0, 0.0), (0.1, 0.1), volumes=20)


@pytest.fixture
def six(tmp_path: Path) -> Path:
    """Six fish that lie anyhow in their scans; the heart of each is a little longer than that of the one before."""
    folder = tmp_path / "segmentations"
    folder.mkdir()
    for number in range(6):
        heart = Ellipsoid((2.0, 0.0, -1.5), (0.8 + 0.1 * number, 0.7, 0.7))
        volume = fish_volume({**FISH, "heart": heart}, turned=rotation((1, 1, number), number), spacing=COARSE)
        save(folder / f"fish_{number}.seg.nrrd", volume, ORGANS)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run(*arguments: object) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, ["atlas", *map(str, arguments)])
    return ended.exit_code, ended.stdout, ended.stderr


def test_tables_and_page_of_a_folder(six: Path, tmp_path: Path) -> None:
    """A row for each fish and organ with its group; the longer hearts' mean is the greater."""
    table = tmp_path / "fish.csv"
    table.write_text("file,group\n" + "".join(f"fish_{n}.seg.nrrd,{'old' if n > 2 else 'young'}\n" for n in range(6)))
    code, _, said = run(six, "--groups", table, "-o", tmp_path / "atlas", "--jobs", 1)
    assert (code, said) == (0, f"6 of 6 fish in {tmp_path / 'atlas/atlas.html'}\n")
    assert sorted(path.name for path in (tmp_path / "atlas").iterdir()) == [
        *("atlas.html", "columns.md", "groups.csv", "organs.csv"),
    ]
    organs = rows(tmp_path / "atlas/organs.csv")
    assert len(organs) == 6 * len(ORGANS)
    hearts = {row["fish"]: row for row in organs if row["organ"] == "heart"}
    assert (hearts["fish_0"]["group"], hearts["fish_5"]["group"]) == ("young", "old")
    for number in range(6):
        long = 0.8 + 0.1 * number
        assert float(hearts[f"fish_{number}"]["volume_mm3"]) == pytest.approx(4 / 3 * np.pi * long * 0.49, rel=0.15)
        assert float(hearts[f"fish_{number}"]["length_mm"]) == pytest.approx(2 * long, abs=0.5)
        assert hearts[f"fish_{number}"]["axes"] == "head: organs, left: pairs, back: organs"
    groups = {(row["group"], row["organ"], row["measure"]): row for row in rows(tmp_path / "atlas/groups.csv")}
    young, old = (groups[group, "heart", "volume_mm3"] for group in ("young", "old"))
    assert young["n"] == old["n"] == "3"
    expected = np.mean([float(hearts[f"fish_{n}"]["volume_mm3"]) for n in range(3)])
    assert float(young["mean"]) == pytest.approx(expected, rel=1e-4) and float(old["mean"]) > float(young["mean"])
    page = (tmp_path / "atlas/atlas.html").read_text(encoding="utf-8")
    assert "Atlas of 6 fish" in page and "young" in page


def test_one_bad_file_is_named_and_the_rest_is_there(six: Path, tmp_path: Path) -> None:
    """Exit status 1; the others' rows; the page says so too."""
    (six / "torn.nii.gz").write_bytes(b"\x1f\x8b nothing")
    code, _, said = run(six, "-o", tmp_path / "atlas", "--jobs", 1, "--organs", organs_file(tmp_path))
    assert code == 1
    assert "ricefish: torn was not measured: " in said and "6 of 7 fish in" in said
    assert {row["fish"] for row in rows(tmp_path / "atlas/organs.csv")} == {f"fish_{n}" for n in range(6)}
    page = tmp_path / "atlas/atlas.html"
    assert "1 of 7 scans could not be measured" in page.read_text(encoding="utf-8")
    words = (six, "-o", tmp_path / "atlas", "--jobs", 1, "--organs", organs_file(tmp_path), "--force", "--json")
    code, told, said = run(*words)
    content = json.loads(told)
    assert (code, said, content["output"]) == (1, "", str(page))
    assert content["fish"] == [f"fish_{n}" for n in range(6)]
    (torn,) = content["failed"]
    assert (torn["name"], torn["source"]) == ("torn", str(six / "torn.nii.gz")) and torn["why"] and content["findings"]


def organs_file(folder: Path) -> Path:
    path = folder / "organs.yaml"
    path.write_text("".join(f"{organ.index}: {organ.name}\n" for organ in ORGANS.organs))
    return path


def test_what_cannot_be_made_is_told_before_anything_is_measured(six: Path, tmp_path: Path) -> None:
    """One line: a folder that is not empty, a table that names no scan, scans that there are not, a spacing of two."""
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").touch()
    table = tmp_path / "fish.csv"
    table.write_text("file,group\nsalmon,wild\n")
    for arguments, message in (
        ([six, "-o", full], "full is not empty; --force replaces the atlas in it"),
        ([six, "-o", tmp_path / "fish.csv"], "fish.csv is no folder"),
        ([six, "-o", tmp_path / "no/atlas"], "there is no folder"),
        ([six, "-o", tmp_path / "a", "--groups", table], "none of the scans: salmon"),
        ([tmp_path / "gone", "-o", tmp_path / "a"], "gone does not exist"),
        ([six, "-o", tmp_path / "a", "--spacing", "1,1"], "--spacing is '1,1'"),
        ([six, "-o", tmp_path / "a", "--organs", tmp_path / "organs.yaml"], "organs.yaml does not exist"),
    ):
        code, _, said = run(*arguments)
        assert (code, said.count("\n")) == (1, 1)
        assert message in said
    assert not (tmp_path / "a").exists()
    assert run(six, "-o", full, "--force", "--jobs", 1)[0] == 0
    assert (full / "mine.txt").exists() and (full / "atlas.html").exists()


def test_where_no_scan_can_be_measured_nothing_is_written(tmp_path: Path) -> None:
    """Labels without names: said for each, and there is no empty atlas."""
    save(tmp_path / "fish.nii.gz", fish_volume(spacing=COARSE), None)
    code, _, said = run(tmp_path / "fish.nii.gz", "-o", tmp_path / "atlas")
    assert code == 1
    assert "nothing says which organs its labels are" in said and "0 of 1 fish: nothing was written" in said
    assert not (tmp_path / "atlas").exists()


@pytest.mark.process
def test_help_is_there_without_what_the_atlas_needs() -> None:
    """What is missing is told by its extra's name, before anything else."""
    program = (
        "import sys; sys.modules['skimage'] = sys.modules['jinja2'] = None; from ricefish.cli.app import app; app()"
    )
    for arguments, code, message in ((["--help"], 0, "Usage"), (["x", "-o", "y"], 1, "install ricefish[atlas]")):
        command = [sys.executable, "-c", program, "atlas", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (ended.returncode, message in ended.stdout + ended.stderr) == (code, True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    model = write_model(folder / "model")
    write_classifier(model / "quality_classifier", expected_dice=CALIBRATION)
    running = RunningServer(tmp_path_factory.mktemp("server"), model)
    yield running.start()
    running.end()


def grey_fish(path: Path, bright: int) -> Path:
    """A heart of 20 x 8 x 6 voxels with an eye at its end, by the grey values that the tests' model goes by."""
    grey = np.zeros((30, 20, 20), np.float32)
    grey[4:24, 6:14, 6:12] = 55
    grey[20:24, 6:14, 6 : 6 + bright] = 100
    with create_volume(
        path, shape=grey.shape, dtype=np.float32, frame=Frame.from_lps(Spacing(0.01, 0.01, 0.01))
    ) as file:
        file.write(grey)
    return path


def test_scans_on_a_server_are_measured_by_their_ids(server: RunningServer, tmp_path: Path) -> None:
    """Beside a file of the same: the same numbers, and the name of the file that was sent; a scan that is not there is
    told as one, and nothing of what was fetched stays.
    """
    with Client(server.url) as client:
        scan = client.submit(grey_fish(tmp_path / "fish_7.nii", 4))
        assert [status.state for status in client.wait(scan.id)][-1] == "succeeded"
        client.download(scan.id, tmp_path / "copy.nii.gz")
        served = {row.name: row for row in client.organs(scan.id)}
    table = tmp_path / "fish.csv"
    table.write_text(f"scan,group\n{scan.id},wild\ncopy,tame\n{'0' * 32},wild\n")
    arguments = [scan.id, tmp_path / "copy.nii.gz", "0" * 32, "--server", server.url, "--groups", table]
    code, _, said = run(*arguments, "-o", tmp_path / "atlas", "--jobs", 1)
    assert code == 1 and f"{'0' * 32} was not measured" in said, said
    organs = {(row["fish"], row["organ"]): row for row in rows(tmp_path / "atlas/organs.csv")}
    one, other = organs["fish_7", "heart"], organs["copy", "heart"]
    assert (one["scan"], one["group"], other["group"]) == (scan.id, "wild", "tame")
    assert int(one["voxels"]) == served["heart"].voxels == 20 * 8 * 6 - 4 * 8 * 4
    for column in ("volume_mm3", "surface_mm2", "length_mm", "head_mm"):
        assert float(one[column]) == pytest.approx(float(other[column]), rel=1e-3, abs=1e-6)
    expected = served["heart"].expected_dice
    assert expected is not None and other["expected_dice"] == ""
    assert float(one["expected_dice"]) == pytest.approx(expected.dice, abs=1e-4)
    assert float(one["dice_low"]) == pytest.approx(expected.low, abs=1e-4)


def test_a_server_that_does_not_answer_is_told_at_once(tmp_path: Path) -> None:
    """Not scan by scan: one line with its address."""
    code, _, said = run("0" * 32, "--server", "http://127.0.0.1:9", "-o", tmp_path / "atlas")
    assert (code, said.count("\n")) == (1, 1) and "no answer from http://127.0.0.1:9" in said
