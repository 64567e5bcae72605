"""Tables 1 and 2: which cells are measured, how they go on, and what is said of them. No network is trained here."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import clone, results
from benchmarks.effort import Effort
from benchmarks.tables import __main__ as tables
from benchmarks.tables import measuring
from benchmarks.tables.measuring import Cell, Protocol
from benchmarks.tables.rows import ROWS
from benchmarks.tables.summary import Interval, as_csv, as_markdown, lines

HERE = "a processor, 2 cores"
NETWORKS = {"teacher": 0.5, "control": 0.55, "student": 0.6}


def _scores(more: float) -> dict[str, Any]:
    volume = {"organs": {"heart": {"hd95_mm": 0.2}, "eye": {"hd95_mm": None}, "gut": {"hd95_mm": 0.4}}}
    return {
        name: {
            "mean_dice": dice + more,
            "mean_iou": dice / 2,
            "organs": {"heart": {"dice": dice}, "eye": {"dice": None}},
            "volumes": {"fish": volume},
        }
        for name, dice in NETWORKS.items()
    }


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[clone.Variant]:
    """Variants that were asked for, instead of being run; scores rise by a tenth of a point with the seed."""
    variants: list[clone.Variant] = []

    def evaluate(variant: clone.Variant, *, name: str) -> clone.Outcome:
        variants.append(variant)
        return clone.Outcome(_scores(variant.changes["seed"] / 1000), seconds=2.0, restored=1, training_volumes=4)

    monkeypatch.setattr(clone, "evaluate", evaluate)
    monkeypatch.setattr(results, "machine", lambda: {"processor": "a processor", "cores": 2})
    monkeypatch.setattr(tables, "decided_by", lambda protocol: "these")
    monkeypatch.setattr(tables, "log_table", lambda protocol, cells, files: None)
    return variants


def _protocol(**changes: Any) -> Protocol:
    variant = clone.Variant("demo", Path("data/phantom"))
    return Protocol(**{"table": 1, "rows": ("all",), "budgets": (2,), "seeds": (1, 2), "variant": variant, **changes})


def _effort(folder: Path) -> Effort:
    return Effort(Namespace(), quick=False, commit="abc", folder=folder)


def _effort_of(parser: ArgumentParser, arguments: Sequence[str] | None, **_: object) -> Effort:
    return Effort(parser.parse_args(arguments), quick=False, commit="abc", folder=Path("results"))


def _cell(row: str, dice: float, *, seed: int = 1, budget: int = 2) -> Cell:
    return Cell(
        row,
        budget,
        seed,
        dice=dice,
        iou=dice / 2,
        hd95_mm=None,
        organs={},
        seconds=1.0,
        machine=HERE,
        commit="abc",
        row_sha256="",
    )


def test_the_control_stands_beside_each_row(asked: list[clone.Variant], tmp_path: Path) -> None:
    """Asked for or not; seed, split and budget are those of the cell, and the files say what was measured."""
    tables.measure(_protocol(), _effort(tmp_path))
    assert [(v.changes["seed"], v.changes["prepare.seed"], v.changes["prepare.labelled_volumes"]) for v in asked] == [
        (1, 1, 2),
        (1, 1, 2),
        (2, 2, 2),
        (2, 2, 2),
    ]
    content = json.loads((tmp_path / "table-1-demo.json").read_text(encoding="utf-8"))
    assert [(row["row"], row["seed"], round(row["dice"], 3)) for row in content["rows"]] == [
        ("control", 1, 0.551),
        ("all", 1, 0.601),
        ("control", 2, 0.552),
        ("all", 2, 0.602),
    ]
    assert content["rows"][0]["hd95_mm"] == pytest.approx(0.3)
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".csv", ".md", ".png"}


def test_a_row_stands_beside_its_own_control(asked: list[clone.Variant], tmp_path: Path) -> None:
    """The one whose patches are changed in the same way, and which is of the same run."""
    tables.measure(_protocol(rows=("strong",), seeds=(1,)), _effort(tmp_path))
    content = json.loads((tmp_path / "table-1-demo.json").read_text(encoding="utf-8"))
    assert [row["row"] for row in content["rows"]] == ["strong_control", "strong"]
    assert asked[0].changes == asked[1].changes


@pytest.mark.parametrize(("raw", "there"), [(measuring.PHANTOMS, True), (Path("/data/headneck_ct"), False)])
def test_a_row_of_synthetic_fish_is_left_out_of_real_scans(
    raw: Path, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose slices are labelled as they are labelled."""
    measured: list[Protocol] = []
    monkeypatch.setattr(tables, "effort_of", _effort_of)
    monkeypatch.setattr(tables, "measure", lambda protocol, effort, jobs: measured.append(protocol))
    tables.main(["1", "--raw", str(raw)])
    assert ("one_in_ten" in measured[0].rows) is there and "strong" in measured[0].rows


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rows", "one_in_ten", "--raw", "/data/headneck_ct"], "row one_in_ten is of synthetic fish"),
        (["--seeds", "3", "12"], "on fish of seed 12 values of the rows were chosen"),
    ],
)
def test_what_would_be_no_figure_is_refused(arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real scans are labelled as they are; and what was chosen on some fish is not measured on them."""
    monkeypatch.setattr(tables, "effort_of", _effort_of)
    with pytest.raises(SystemExit, match=said):
        tables.main(["1", *arguments])


def test_a_table_goes_on_where_it_ended(
    asked: list[clone.Variant], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was measured stays, also of seeds that are not asked for now; of other code, all is measured anew."""
    tables.measure(_protocol(seeds=(1,)), _effort(tmp_path))
    tables.measure(_protocol(seeds=(2,)), _effort(tmp_path))
    tables.measure(_protocol(seeds=(1, 2)), _effort(tmp_path))
    assert [variant.changes["seed"] for variant in asked] == [1, 1, 2, 2]
    assert len(json.loads((tmp_path / "table-1-demo.json").read_text(encoding="utf-8"))["rows"]) == 4
    monkeypatch.setattr(tables, "decided_by", lambda protocol: "others")
    tables.measure(_protocol(seeds=(1,)), _effort(tmp_path))
    assert [variant.changes["seed"] for variant in asked] == [1, 1, 2, 2, 1, 1]
    assert len(json.loads((tmp_path / "table-1-demo.json").read_text(encoding="utf-8"))["rows"]) == 2


def _measured_there(folder: Path) -> dict[tuple[int, str], str]:
    rows = json.loads((folder / "table-1-demo.json").read_text(encoding="utf-8"))["rows"]
    return {(row["seed"], row["row"]): row["machine"] for row in rows}


@pytest.mark.parametrize("missing", ["teacher", "all"])  # before and after what is there, in the order of measuring
def test_rows_that_are_compared_are_of_one_machine(
    missing: str, asked: list[clone.Variant], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 1 is whole and stays; seed 2 lacks a row, which another machine adds: it trains the others of it too."""
    rows = ("teacher", "control", "all")
    tables.measure(_protocol(rows=rows, seeds=(1,)), _effort(tmp_path))
    tables.measure(_protocol(rows=tuple(row for row in rows if row != missing), seeds=(2,)), _effort(tmp_path))
    there = "another, 2 cores"
    monkeypatch.setattr(results, "machine", lambda: {"processor": "another", "cores": 2})
    tables.measure(_protocol(rows=(missing, "control"), seeds=(1, 2)), _effort(tmp_path))
    assert _measured_there(tmp_path) == {
        **{(1, row): HERE for row in rows},
        **{(2, row): there for row in ("control", missing)},
    }
    tables.measure(_protocol(rows=rows, seeds=(1, 2)), _effort(tmp_path))
    assert _measured_there(tmp_path) == {**{(1, row): HERE for row in rows}, **{(2, row): there for row in rows}}
    assert len(asked) == 8


def test_a_table_that_ended_between_two_machines_is_of_one_when_it_goes_on(
    asked: list[clone.Variant], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is missing, and yet it is measured anew: two rows were compared that nobody may compare."""
    mixed = [dataclasses.replace(_cell("control", 0.5), machine="another"), _cell("all", 0.6)]
    mixed = [dataclasses.replace(cell, row_sha256=ROWS[cell.row].sha256) for cell in mixed]
    kept = measuring.comparable(mixed, _protocol(seeds=(1,)))
    assert [cell.row for cell in kept] == ["all"]
    monkeypatch.setattr(results, "machine", lambda: {"processor": "a third", "cores": 2})
    assert measuring.comparable(mixed, _protocol(seeds=(1,))) == ()


def test_a_row_that_is_another_now_is_measured_anew(asked: list[clone.Variant], tmp_path: Path) -> None:
    """The figures of a row belong to the values that it had; what it is called does not matter."""
    cell = dataclasses.replace(_cell("all", 0.6), row_sha256=ROWS["all"].sha256)
    assert measuring.comparable([cell], _protocol(rows=("all",))) == (cell,)
    assert measuring.comparable([dataclasses.replace(cell, row_sha256="0")], _protocol(rows=("all",))) == ()
    assert dataclasses.replace(ROWS["all"], label="other").sha256 == ROWS["all"].sha256
    assert dataclasses.replace(ROWS["all"], network="teacher").sha256 != ROWS["all"].sha256


def test_cells_that_are_measured_at_once_are_those_measured_in_turn(asked: list[clone.Variant], tmp_path: Path) -> None:
    """Two seeds and two budgets in three threads: every cell once, the rows of one seed and budget in their order."""
    tables.measure(_protocol(budgets=(2, 3)), _effort(tmp_path), jobs=3)
    content = json.loads((tmp_path / "table-1-demo.json").read_text(encoding="utf-8"))
    places = [(row["seed"], row["budget"], row["row"]) for row in content["rows"]]
    assert sorted(places) == sorted(_protocol(budgets=(2, 3)).places)
    assert len(asked) == 8
    for seed, budget in ((1, 2), (1, 3), (2, 2), (2, 3)):
        assert [place[2] for place in places if place[:2] == (seed, budget)] == ["control", "all"]


def test_a_budget_that_there_are_no_volumes_for_is_an_error(asked: list[clone.Variant], tmp_path: Path) -> None:
    """A row of seven volumes that learnt from four would be a lie."""
    with pytest.raises(clone.BenchmarkError, match="a budget of 7 volumes; there are 4 to learn from"):
        tables.measure(_protocol(budgets=(7,)), _effort(tmp_path))


def test_seeds_may_share_the_data(asked: list[clone.Variant], tmp_path: Path) -> None:
    """With a seed of the data of their own, the runs differ in weights and patches alone."""
    variant = clone.Variant("demo", Path("data/phantom"), {"prepare.seed": 7})
    tables.measure(_protocol(rows=("control",), variant=variant), _effort(tmp_path))
    assert [(v.changes["prepare.seed"], v.changes["seed"]) for v in asked] == [(7, 1), (7, 2)]


@pytest.mark.process
def test_figures_depend_on_code_and_values() -> None:
    """The same tree gives the same hash; other fish another."""
    protocol = _protocol()
    other = _protocol(variant=clone.Variant("demo", Path("data/phantom"), tables.FISH))
    assert measuring.decided_by(protocol) == measuring.decided_by(_protocol(seeds=(9,)))
    assert measuring.decided_by(protocol) != measuring.decided_by(other)


@pytest.mark.parametrize(("changed", "matters"), [("training/learning", True), ("training/export", False)])
@pytest.mark.process
def test_figures_depend_on_what_the_stages_up_to_evaluate_read(
    changed: str, matters: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the code, what dvc.yaml says that they depend on: another export or server measures nothing anew."""
    before, tree = measuring.decided_by(_protocol()), measuring._tree
    monkeypatch.setattr(measuring, "_tree", lambda path: "another" if path == changed else tree(path))
    assert (measuring.decided_by(_protocol()) != before) == matters


def test_gains_are_paired_seed_by_seed() -> None:
    """+0.02, +0.04, +0.06: a mean of 0.04, 4.303 times 0.02 / sqrt(3) on each side, though seeds differ by more."""
    starts: Mapping[int, tuple[float, float]] = {1: (0.5, 0.02), 2: (0.7, 0.04), 3: (0.6, 0.06)}
    cells = [_cell("control", start, seed=seed) for seed, (start, _) in starts.items()]
    cells += [_cell("all", start + gain, seed=seed) for seed, (start, gain) in starts.items()]
    cells += [_cell("strong_control", 0.9), _cell("strong", 0.8)]
    control, student, strong_control, strong = lines(cells)
    assert strong_control.gain is None and strong.gain == Interval(pytest.approx(-0.1), None, None)
    assert (control.row, control.gain, control.dice_sd) == ("control", None, pytest.approx(0.1))
    assert student.gain is not None and student.above == 3
    assert student.gain.mean == pytest.approx(0.04)
    assert (student.gain.low, student.gain.high) == pytest.approx((0.04 - 0.04968, 0.04 + 0.04968), abs=1e-4)
    row = "| 2 | all: the paper's whole | 0.640 ± 0.111 | 0.320 |  | +4.0 (-1.0 to +9.0) | 3 of 3 |"
    assert row in as_markdown([student])


def test_with_one_seed_there_is_no_interval() -> None:
    """Nor a spread; and an even Dice is not above."""
    assert Interval.of([0.1]) == Interval(0.1, None, None)
    control, student = lines([_cell("control", 0.5), _cell("all", 0.5)])
    assert (student.dice_sd, student.above) == (None, 0)
    header, _, row = csv.reader(io.StringIO(as_csv([control, student])))
    assert dict(zip(header, row, strict=True)) == {
        "row": "all",
        "budget": "2",
        "seeds": "1",
        "dice": "0.5",
        "dice_sd": "",
        "iou": "0.25",
        "hd95_mm": "",
        "gain": "0.0",
        "gain_low": "",
        "gain_high": "",
        "above": "0",
    }


@pytest.mark.process
def test_each_cell_is_a_run_and_the_files_are_one_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logged again, a cell is not logged twice."""
    from benchmarks.tables.mlflow_experiment import log_table
    from training.tracking import runs

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "table.csv").write_text("row\n", encoding="utf-8")
    cells = [_cell("control", 0.5), _cell("all", 0.6)]
    for logged in (cells[:1], cells):
        log_table(_protocol(), logged, files=[tmp_path / "table.csv"])
    client = runs.connect()
    experiment = client.get_experiment_by_name("table-1-demo")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.params.get("row", "-") for run in found) == ["-", "-", "all", "control"]
    assert {run.data.metrics["dice"] for run in found if run.data.params} == {0.5, 0.6}
