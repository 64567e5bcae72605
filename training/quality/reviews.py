"""reviews.csv: what people said of pseudo-labelled slices, one `volume,slice_index,verdict` a line.

More columns may follow, in any order: `organ`, where a verdict is on one organ of the slice; `mask_sha256`, where it is
on the mask of that digest alone; `reviewer`; `ending`, where it no longer stands; and what a server notes besides.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from pathlib import Path

from scans.reviews import MARKING_COLUMNS, NEEDED_COLUMNS, NOTED_COLUMNS, VERDICTS

REVIEWS_FILE = Path("data/reviews.csv")
_OPTIONAL = (*MARKING_COLUMNS, *NOTED_COLUMNS)
_TEACH = {"good": True, "bad": False}
_DIGEST_DIGITS = 64
_SHOWN = 20


class ReviewsError(ValueError):
    """reviews.csv cannot be used; the message names the file and every line at fault."""


@dataclass(frozen=True)
class Review:
    """A verdict on one pseudo-labelled slice, or on one organ in it."""

    volume_id: str
    slice_index: int
    good: bool
    organ: str = ""
    """By name; empty: the verdict is on the slice."""
    mask_sha256: str = ""
    """Of the mask that it is on, as `scans.mask_digest` makes it; empty: on whatever mask the slice has."""
    reviewer: str = ""


@dataclass(frozen=True)
class GivenReviews:
    """All that a reviews.csv says."""

    reviews: tuple[Review, ...]
    """Once each, in the order of the file."""
    elsewhere: int
    """Lines that are good or bad, and stand, on a volume, slice or organ that is not there."""


class _Passed(Enum):
    """Why a line is no review."""

    SILENT = "teaches nothing"
    ELSEWHERE = "is on what is not there"


@dataclass(frozen=True)
class Reviewable:
    """What verdicts may be on."""

    slices: Mapping[str, int]
    """How many each pseudo-labelled volume has."""
    organs: Sequence[str] = ()

    def fault(self, volume_id: str, index: str, organ: str) -> str | None:
        """What is wrong with where a verdict is; None if nothing is."""
        if volume_id not in self.slices:
            known = ", ".join(sorted(self.slices)[:5]) + (" ..." if len(self.slices) > 5 else "")
            return f"volume {volume_id!r} is not a pseudo-labelled volume; there are {known or 'none'}"
        if not (index.isascii() and index.isdigit() and int(index) < self.slices[volume_id]):
            return f"slice_index {index!r}; {volume_id} has slices 0 to {self.slices[volume_id] - 1}"
        if organ and organ not in self.organs:
            return f"organ {organ!r}; expected one of {', '.join(self.organs)}, or nothing for the slice"
        return None


def read_reviews(path: Path, *, slices: Mapping[str, int], organs: Sequence[str] = ()) -> tuple[Review, ...]:
    """As `read_given`, without what is said of other data sets."""
    return read_given(path, slices=slices, organs=organs).reviews


def read_given(path: Path, *, slices: Mapping[str, int], organs: Sequence[str] = ()) -> GivenReviews:
    """Every review that teaches, once each, in the order of the file: those that are good or bad, and stand.

    `slices` tells how many each pseudo-labelled volume has, `organs` the names of its organs. A line with a digest
    whose volume, slice or organ is not there is of another data set, and passed over: servers see more scans than are
    learnt from. Raises ReviewsError that lists the lines that, without a digest, name an unknown volume, slice or
    organ, those of an unknown verdict, and those that somebody has judged differently in another line.
    """
    faults: list[str] = []
    first: dict[tuple[str, ...], tuple[int, Review]] = {}
    there, elsewhere = Reviewable(slices, organs), 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = _header(path, next(reader, []))
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            review = _parse(row, header, there=there)
            if isinstance(review, str):
                faults.append(f"line {reader.line_num}: {review}")
            elif review is _Passed.ELSEWHERE:
                elsewhere += 1
            elif isinstance(review, Review):
                line, before = first.setdefault(_same(review), (reader.line_num, review))
                if before.good != review.good:
                    where = f"slice {review.slice_index} of {review.volume_id}"
                    where += f", {review.organ}," if review.organ else ""
                    faults.append(f"line {reader.line_num}: {where} is judged good and bad, see line {line}")
    if faults:
        shown = [*faults[:_SHOWN], f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else faults
        raise ReviewsError(f"{path} cannot be used:\n  " + "\n  ".join(shown))
    return GivenReviews(tuple(review for _, review in first.values()), elsewhere)


def _same(review: Review) -> tuple[str, ...]:
    """What a reviewer has one opinion of."""
    return review.volume_id, str(review.slice_index), review.organ, review.mask_sha256, review.reviewer


def _header(path: Path, cells: list[str]) -> tuple[str, ...]:
    header = tuple(cell.strip() for cell in cells)
    more = header[len(NEEDED_COLUMNS) :]
    if header[: len(NEEDED_COLUMNS)] != NEEDED_COLUMNS or len(set(more)) < len(more) or set(more) - set(_OPTIONAL):
        raise ReviewsError(
            f"{path}: the first line is {','.join(header)!r}; expected {','.join(NEEDED_COLUMNS)!r}, and after that, "
            f"once each, any of {', '.join(_OPTIONAL)}"
        )
    return header


def _parse(row: list[str], header: tuple[str, ...], *, there: Reviewable) -> Review | str | _Passed:
    """The review of one line, or what is wrong with it, or why it is neither."""
    if len(row) != len(header):
        return f"{len(row)} fields; expected {','.join(header)}"
    said = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
    volume_id, index, verdict = (said[name] for name in islice(header, len(NEEDED_COLUMNS)))
    organ, digest = said.get("organ", ""), said.get("mask_sha256", "").lower()
    if digest and (len(digest) != _DIGEST_DIGITS or set(digest) - set("0123456789abcdef")):
        return f"mask_sha256 {digest!r}; expected {_DIGEST_DIGITS} hexadecimal digits, or nothing"
    teaches = verdict in _TEACH and not said.get("ending")
    if (fault := there.fault(volume_id, index, organ)) is not None:
        return fault if not digest else _Passed.ELSEWHERE if teaches else _Passed.SILENT
    if verdict not in VERDICTS:
        return f"verdict {verdict!r}; expected good or bad, or one that teaches nothing: unsure, skip"
    if not teaches:
        return _Passed.SILENT
    return Review(volume_id, int(index), _TEACH[verdict], organ, digest, said.get("reviewer", ""))
