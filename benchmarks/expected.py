"""Is the Dice of an organ where the Quality Classifier expects it? On new fish, which no model and no bound has seen.

    python -m benchmarks.expected --seeds 1 2 3

For each seed, trains the demo's models on a commit with more validation fish, from which the bounds are, then segments
new fish of each beam time and holds the true Dice of each organ against what was expected of it. Beside the error
stands that of expecting of each organ the Student's mean Dice of it on the validation fish. Writes
benchmarks/results/expected.json after each seed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import clone, results
from benchmarks.effort import Effort, effort_of
from scans.measures.metrics import OrganCounts
from scans.model.expected_dice import RATE, ExpectedDice
from scans.model.judgement import Judgement
from scans.model.manifest import MODEL_FILE, QUALITY_FOLDER, ModelManifest
from training.export.onnx_session import OnnxModel
from training.phantom.fish import BEAM_TIME_COUNT, FIRST_HELD_OUT_FISH, make_phantom

RESULT = "expected"


@dataclass(frozen=True)
class Found:
    """Of one organ in one new fish."""

    beam_time: int
    expected: ExpectedDice
    mean: float
    """Dice of the organ on the validation fish."""
    true: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; exit code 1 with a message where the models cannot be trained."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.expected", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of data and weights (default: 1 2 3)")
    parser.add_argument("--validation", type=int, default=30, help="fish that the bounds are from (default: 30)")
    parser.add_argument("--fish", type=int, default=60, help="new fish of each seed (default: 60)")
    try:
        measure(effort_of(parser, arguments, least={"seeds": [1], "fish": 3}))
    except clone.BenchmarkError as error:
        raise SystemExit(f"expected: {error}") from None


def measure(effort: Effort) -> None:
    """Measures seed by seed, writes the figures down and prints them."""
    options, console = effort.options, Console()
    about = {"validation": options.validation, "fish": options.fish, "rate": RATE}
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory(prefix="ricefish-expected-") as folder:
            models = _models(seed, effort, Path(folder))
            rows.append({"seed": seed, **figures(list(_found(models, seed=seed, fish=options.fish)))})
        path = effort.write(RESULT, rows=rows, about=about)
    console.print(table(rows))
    console.print(f"Written to {path}", highlight=False)


def _models(seed: int, effort: Effort, folder: Path) -> Path:
    """The folder of the demo's models of that seed."""
    variant = clone.active_variant(profile="demo", raw_dir=clone.REPOSITORY / "data" / "phantom")
    changes = {"seed": seed, "prepare.seed": seed, "prepare.phantoms.validation": effort.options.validation}
    variant = replace(variant, changes={} if effort.quick else changes, smallest=effort.quick)
    return clone.export(variant, name=f"demo-expected-{seed}", into=folder)


def _found(models: Path, *, seed: int, fish: int) -> Iterator[Found]:
    """Of every organ that the Student finds, fish by fish, beam time by beam time."""
    manifest, judging = (ModelManifest.read(models / name) for name in ("student", QUALITY_FOLDER))
    student, classifier = (OnnxModel(models / name / MODEL_FILE) for name in ("student", QUALITY_FOLDER))
    if judging.expected_dice is None:
        raise clone.BenchmarkError("the Quality Classifier says nothing of organs: train_classifier.organ_weight is 0")
    for number in range(fish):
        beam_time = number % BEAM_TIME_COUNT + 1
        phantom = make_phantom(seed=seed, fish=FIRST_HELD_OUT_FISH + number, beamtime=beam_time)
        window = manifest.intensity.window_of(phantom.image)
        segmentation = student.segment(phantom.image, window)
        verdicts = classifier.verdicts(phantom.image, segmentation, window)
        judgement = Judgement.of_quality(segmentation, verdicts, organs=len(manifest.organs))
        counts = OrganCounts.of(segmentation, phantom.labels, classes=manifest.organs.classes)
        for organ, (quality, true) in enumerate(zip(judgement.of_organs(), counts.dice, strict=True), start=1):
            if quality.dice is not None and true is not None:
                mean = manifest.metrics[f"dice.{manifest.organs.names[organ - 1]}"]
                yield Found(beam_time, judging.expected_dice.expected(organ, quality.dice), mean, true)


def figures(found: Sequence[Found]) -> dict[str, Any]:
    """How often the true Dice is within the bounds, in all and by beam time; how wide these are, and the errors."""
    true, expected = np.array([one.true for one in found]), np.array([one.expected.dice for one in found])
    return {
        "organs": len(found),
        "coverage": float(np.mean([one.expected.holds(one.true) for one in found])),
        "coverage_by_beam_time": {
            str(number): float(np.mean([one.expected.holds(one.true) for one in found if one.beam_time == number]))
            for number in sorted({one.beam_time for one in found})
        },
        "width": float(np.mean([one.expected.high - one.expected.low for one in found])),
        "error": float(np.abs(expected - true).mean()),
        "error_of_the_mean": float(np.abs([one.mean - one.true for one in found]).mean()),
        "correlation": float(np.corrcoef(expected, true)[0, 1]),
    }


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """One line for each seed."""
    drawn = Table(title="Expected Dice of organs in new fish", title_justify="left")
    for heading in ("seed", "organs", "within", "by beam time", "width", "error", "of the mean", "correlation"):
        drawn.add_column(heading, justify="right")
    for row in rows:
        by_beam_time = " ".join(f"{value:.2f}" for value in row["coverage_by_beam_time"].values())
        rest = (f"{row[name]:.3f}" for name in ("width", "error", "error_of_the_mean", "correlation"))
        drawn.add_row(str(row["seed"]), str(row["organs"]), f"{row['coverage']:.3f}", by_beam_time, *rest)
    return drawn


def as_markdown(content: Mapping[str, Any]) -> str:
    """A section of docs/results.md, from the result file."""
    heads = ("seed", "organs", "within the bounds", "at beam times 1, 2, 3", "width", "error", "of the organ's mean")
    drawn = [
        "## Expected Dice",
        "",
        f"The Dice that is expected of organs in {content['fish']} new synthetic fish of each seed, with bounds from",
        f"{content['validation']} validation fish that are to hold in {content['rate']:.0%}: how often they do, how",
        "wide they are, the mean error, and that of expecting each organ's mean on the validation fish.",
        "",
        f"`make bench-expected`, commit {content['commit'][:7]}. {results.said_of(content['machine'])}.",
        "",
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
    ]
    for row in content["rows"]:
        by_beam_time = ", ".join(f"{value:.1%}" for value in row["coverage_by_beam_time"].values())
        errors = (f"{row[name]:.3f}" for name in ("width", "error", "error_of_the_mean"))
        cells = (str(row["seed"]), str(row["organs"]), f"{row['coverage']:.1%}", by_beam_time, *errors)
        drawn.append(f"| {' | '.join(cells)} |")
    return "\n".join([*drawn, ""])


if __name__ == "__main__":
    main()
