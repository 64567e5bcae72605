"""What a benchmark is asked for: `--quick` measures little and keeps nothing, but runs all of it."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.clone import make_smallest
from benchmarks.effort import effort_of
from benchmarks.results import RESULTS
from training.params import load_params

REPOSITORY = Path(__file__).resolve().parents[2]
BENCHMARKS = sorted(
    path.stem
    for path in (REPOSITORY / "benchmarks").glob("*.py")
    if "def main(arguments" in path.read_text(encoding="utf-8")
)

pytestmark = pytest.mark.process  # importing some of them asks the system for its libraries


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scans", type=int, default=4)
    return parser


def test_quick_measures_the_least_and_writes_beside_the_results(parser: argparse.ArgumentParser) -> None:
    """Options take their least value unless they are stated; files and pictures go to a temporary folder."""
    effort = effort_of(parser, ["--quick", "--scans", "2"], least={"rounds": 1, "scans": 1})
    assert (effort.options.rounds, effort.options.scans) == (1, 2)
    path = effort.write("rows", rows=[{"a": 1}], about={})
    assert path.parent == effort.folder != RESULTS and path.is_file()
    assert effort.picture(REPOSITORY / "docs" / "a.png") == effort.folder / "a.png"


@pytest.mark.parametrize("name", [*BENCHMARKS, "peers.__main__", "tables.__main__", "gpu_check.__main__"])
def test_each_benchmark_can_be_run_quickly(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command of benchmarks/ has `--quick`."""
    with pytest.raises(SystemExit) as ended:
        import_module(f"benchmarks.{name}").main(["--help"])
    assert ended.value.code == 0
    assert "--quick" in capsys.readouterr().out


def test_the_smallest_pipeline_has_all_stages_and_learns_nothing(tmp_path: Path) -> None:
    """Few fish and steps, whatever the demo has; what the demo has less of already stays."""
    path = tmp_path / "params.yaml"
    path.write_text((REPOSITORY / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    before = load_params(path)
    make_smallest(path)
    after = load_params(path)
    assert after.prepare.phantoms.unlabelled == 3 and after.prepare.phantoms.depth == 32
    for section in (after.train_teacher, after.label_quality, after.train_classifier, after.train_student):
        assert section.schedule.epochs == 1 and section.schedule.steps_per_epoch <= 8
    assert after.train_student.alpha == before.train_student.alpha
