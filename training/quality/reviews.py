"""reviews.csv: what people said of pseudo-labelled slices, one `volume,slice_index,verdict` a line."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REVIEWS_FILE = Path("data/reviews.csv")
COLUMNS = ("volume", "slice_index", "verdict")
VERDICTS = {"good": True, "bad": False}
_SHOWN = 20


class ReviewsError(ValueError):
    """reviews.csv cannot be used; the message names the file and every line at fault."""


@dataclass(frozen=True)
class Review:
    """A verdict on one pseudo-labelled slice."""

    volume_id: str
    slice_index: int
    good: bool


def read_reviews(path: Path, *, slices: Mapping[str, int]) -> tuple[Review, ...]:
    """Every review, once each, in the order of the file; `slices` tells how many each pseudo-labelled volume has.

    Raises ReviewsError that lists the lines that name an unknown volume, a slice that is not there, a verdict that is
    neither good nor bad, or a slice that another line judged differently.
    """
    faults: list[str] = []
    first: dict[tuple[str, int], tuple[int, bool]] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = tuple(cell.strip() for cell in next(reader, []))
        if header != COLUMNS:
            raise ReviewsError(f"{path}: the first line is {','.join(header)!r}; expected {','.join(COLUMNS)!r}")
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            review = _parse(row, slices=slices)
            if isinstance(review, str):
                faults.append(f"line {reader.line_num}: {review}")
                continue
            line, good = first.setdefault((review.volume_id, review.slice_index), (reader.line_num, review.good))
            if good != review.good:
                where = f"slice {review.slice_index} of {review.volume_id}"
                faults.append(f"line {reader.line_num}: {where} is judged good and bad, see line {line}")
    if faults:
        shown = [*faults[:_SHOWN], f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else faults
        raise ReviewsError(f"{path} cannot be used:\n  " + "\n  ".join(shown))
    return tuple(Review(volume_id, slice_index, good) for (volume_id, slice_index), (_, good) in first.items())


def _parse(row: list[str], *, slices: Mapping[str, int]) -> Review | str:
    """The review of one line, or what is wrong with it."""
    if len(row) != len(COLUMNS):
        return f"{len(row)} fields; expected {','.join(COLUMNS)}"
    volume_id, index, verdict = (cell.strip() for cell in row)
    if volume_id not in slices:
        known = ", ".join(sorted(slices)[:5]) + (" ..." if len(slices) > 5 else "")
        return f"volume {volume_id!r} is not a pseudo-labelled volume; there are {known or 'none'}"
    if not (index.isascii() and index.isdigit() and int(index) < slices[volume_id]):
        return f"slice_index {index!r}; {volume_id} has slices 0 to {slices[volume_id] - 1}"
    if verdict not in VERDICTS:
        return f"verdict {verdict!r}; expected good or bad"
    return Review(volume_id, int(index), VERDICTS[verdict])
