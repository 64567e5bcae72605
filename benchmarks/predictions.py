"""How near is what `ricefish plan` says of a scan to what one took? From the results of `make bench*`, in no time.

python -m benchmarks.predictions
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks import results
from ricefish.planning.rates import Measured, from_results


@dataclass(frozen=True)
class Prediction:
    """What the model says of a scan, and how long it took."""

    by: str
    """Whose rates it was made from."""
    of: str
    predicted_seconds: float
    measured_seconds: float

    @property
    def error(self) -> float:
        """Relative to what was measured; positive where the prediction was too pessimistic."""
        return self.predicted_seconds / self.measured_seconds - 1


def predictions(measured: Sequence[Measured]) -> list[Prediction]:
    """Each scan as predicted from the rates of each that the same network segmented, itself included."""
    return [
        Prediction(by.name, of.name, of.voxels * by.rates.seconds_per_voxel, of.seconds)
        for by in measured
        for of in measured
        if of.network == by.network
    ]


def main() -> None:
    """Prints a line for each."""
    table = Table("from the rates of", "a scan of", "predicted s", "measured s", "error")
    for name in ("overhead", "capacity"):
        for one in predictions(from_results(results.RESULTS / f"{name}.json")):
            seconds = (f"{one.predicted_seconds:.1f}", f"{one.measured_seconds:.1f}")
            table.add_row(one.by, one.of, *seconds, f"{one.error:+.0%}")
    Console().print(table)


if __name__ == "__main__":
    main()
