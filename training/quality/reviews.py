"""reviews.csv: what people said of pseudo-labelled slices, one `volume,slice_index,verdict` a line.

More columns may follow, in any order: `organ`, where a verdict is on one organ of the slice; `mask_sha256`, where it is
on the mask of that digest alone; `reviewer`; `ending`, where it no longer stands; and what a server notes besides.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from scans.reviews import MARKING_COLUMNS, NEEDED_COLUMNS, NOTED_COLUMNS, VERDICTS

REVIEWS_FILE = Path("data/reviews.csv")
_OPTIONAL = (*MARKING_COLUMNS, *NOTED_COLUMNS)
_TEACH = {"good": True, "bad": False}
_DIGEST_DIGITS = 64
_SHOWN = 20
_NAMED = 5
"""Volumes that a line of the log names."""

log = logging.getLogger(__name__)


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
    elsewhere: int = 0
    """Lines that are good or bad, and stand, on a volume, slice or organ that is not there."""


@dataclass(frozen=True)
class Reviewable:
    """What verdicts may be on."""

    slices: Mapping[str, int]
    """How many each pseudo-labelled volume has."""
    organs: Sequence[str] = ()
    scans: Mapping[str, str] = field(default_factory=dict)
    """Volume by the id that its scan has at a server, where that is known."""

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


@dataclass(frozen=True)
class _Elsewhere:
    """A verdict that would teach, on what the data set does not have."""

    volume: str


def read_reviews(path: Path, there: Reviewable) -> tuple[Review, ...]:
    """As `read_given`, without what is said of other data sets."""
    return read_given(path, there).reviews


def read_given(path: Path, there: Reviewable) -> GivenReviews:
    """Every review that teaches, once each, in the order of the file: those that are good or bad, and stand.

    A line is on the volume of its scan, where that is known, else on that which it names. One with a digest whose
    volume, slice or organ is not there is of another data set, and passed over, as the log says: servers see more scans
    than are learnt from. Raises ReviewsError that lists the lines that, without a digest, name an unknown volume, slice
    or organ or contradict another line of the same reviewer, and those of an unknown verdict. Of lines with a digest
    both such verdicts are given: one mask in two scans can be judged twice.
    """
    faults: list[str] = []
    elsewhere: list[str] = []
    first: dict[tuple[str, ...], tuple[int, Review]] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = _header(path, next(reader, []))
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            review = _parse(row, header, there=there)
            if isinstance(review, str):
                faults.append(f"line {reader.line_num}: {review}")
            elif isinstance(review, _Elsewhere):
                elsewhere.append(review.volume)
            elif review is not None:
                line, before = first.setdefault(_same(review), (reader.line_num, review))
                if before.good != review.good:
                    where = f"slice {review.slice_index} of {review.volume_id}"
                    where += f", {review.organ}," if review.organ else ""
                    faults.append(f"line {reader.line_num}: {where} is judged good and bad, see line {line}")
    if faults:
        shown = [*faults[:_SHOWN], f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else faults
        raise ReviewsError(f"{path} cannot be used:\n  " + "\n  ".join(shown))
    _tell_of(path, elsewhere)
    return GivenReviews(tuple(review for _, review in first.values()), len(elsewhere))


def _tell_of(path: Path, elsewhere: Sequence[str]) -> None:
    if elsewhere:
        volumes = sorted(set(elsewhere))
        log.warning(
            "%d lines of %s are on volumes, slices or organs that are not among the pseudo-labels, and teach nothing; "
            "they name the volumes %s",
            len(elsewhere),
            path,
            ", ".join(volumes[:_NAMED]) + (f" and {len(volumes) - _NAMED} more" if len(volumes) > _NAMED else ""),
        )


def _same(review: Review) -> tuple[str, ...]:
    """What a reviewer has one opinion of; of a mask, which may be that of two scans, there may be two."""
    opinion = str(review.good) if review.mask_sha256 else ""
    return review.volume_id, str(review.slice_index), review.organ, review.mask_sha256, review.reviewer, opinion


def _header(path: Path, cells: list[str]) -> tuple[str, ...]:
    header = tuple(cell.strip() for cell in cells)
    more = header[len(NEEDED_COLUMNS) :]
    if header[: len(NEEDED_COLUMNS)] != NEEDED_COLUMNS or len(set(more)) < len(more) or set(more) - set(_OPTIONAL):
        raise ReviewsError(
            f"{path}: the first line is {','.join(header)!r}; expected {','.join(NEEDED_COLUMNS)!r}, and after that, "
            f"once each, any of {', '.join(_OPTIONAL)}"
        )
    return header


def _parse(row: list[str], header: tuple[str, ...], *, there: Reviewable) -> Review | _Elsewhere | str | None:
    """The review of one line, or what is wrong with it; None where it teaches nothing."""
    if len(row) != len(header):
        return f"{len(row)} fields; expected {','.join(header)}"
    said = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
    volume_id, index, verdict = (said[name] for name in islice(header, len(NEEDED_COLUMNS)))
    organ, digest = said.get("organ", ""), said.get("mask_sha256", "").lower()
    if digest and (len(digest) != _DIGEST_DIGITS or set(digest) - set("0123456789abcdef")):
        return f"mask_sha256 {digest!r}; expected {_DIGEST_DIGITS} hexadecimal digits, or nothing"
    named, volume_id = volume_id, there.scans.get(said.get("scan", ""), volume_id)
    fault = there.fault(volume_id, index, organ)
    if fault is not None and not digest:
        return fault
    if verdict not in VERDICTS:
        return f"verdict {verdict!r}; expected good or bad, or one that teaches nothing: unsure, skip"
    if verdict not in _TEACH or said.get("ending"):
        return None
    reviewer = said.get("reviewer", "")
    here = fault is None
    return Review(volume_id, int(index), _TEACH[verdict], organ, digest, reviewer) if here else _Elsewhere(named)
