"""reviews.csv: what people said of pseudo-labelled slices, one `volume,slice_index,verdict` a line.

More columns may follow, in any order: `organ`, where a verdict is on one organ of the slice; `mask_sha256`, where it is
on the mask of that digest alone, which may lie in `reviews/` beside the file; `reviewer`; `ending`, where it no longer
stands; and what a server notes besides.
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    organs: tuple[str, ...] = ()
    """Of the model that made the mask, in the order of its class indices; none: those of the data set."""


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
    labelled: Mapping[str, int] = field(default_factory=dict)
    """How many slices each volume with labels has, which has no pseudo-labels: verdicts there are on masks that they
    name."""
    scans: Mapping[str, str] = field(default_factory=dict)
    """Volume by the id that its scan has at a server, where that is known."""

    def fault(self, volume_id: str, index: str, organ: str, *, of_a_mask: bool) -> str | None:
        """What is wrong with where a verdict is, which may name its mask; None if nothing is."""
        slices = {**self.slices, **self.labelled} if of_a_mask else self.slices
        if volume_id not in slices:
            known = ", ".join(sorted(self.slices)[:5]) + (" ..." if len(self.slices) > 5 else "")
            return f"volume {volume_id!r} is not a pseudo-labelled volume; there are {known or 'none'}"
        if not (index.isascii() and index.isdigit() and int(index) < slices[volume_id]):
            return f"slice_index {index!r}; {volume_id} has slices 0 to {slices[volume_id] - 1}"
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
            "%d lines of %s are on volumes, slices or organs that are not in the data set, and teach nothing; "
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
    said = dict.fromkeys(_OPTIONAL, "") | {name: cell.strip() for name, cell in zip(header, row, strict=True)}
    named, index, verdict = (said[name] for name in NEEDED_COLUMNS)
    volume_id, organ, digest = there.scans.get(said["scan"], named), said["organ"], said["mask_sha256"].lower()
    elsewhere = there.fault(volume_id, index, organ, of_a_mask=bool(digest))
    if (fault := _misstated(said) or (None if digest else elsewhere)) is not None:
        return fault
    if verdict not in _TEACH or said["ending"]:
        return None
    if elsewhere is not None:
        return _Elsewhere(named)
    return Review(volume_id, int(index), _TEACH[verdict], organ, digest, said["reviewer"], _organs(said["organs"]))


def _misstated(said: Mapping[str, str]) -> str | None:
    """What is wrong with a line, wherever its verdict is."""
    digest, verdict = said["mask_sha256"].lower(), said["verdict"]
    if digest and (len(digest) != _DIGEST_DIGITS or set(digest) - set("0123456789abcdef")):
        return f"mask_sha256 {digest!r}; expected {_DIGEST_DIGITS} hexadecimal digits, or nothing"
    if verdict not in VERDICTS:
        return f"verdict {verdict!r}; expected good or bad, or one that teaches nothing: unsure, skip"
    try:
        _organs(said["organs"])
    except ValueError:
        return f'organs {said["organs"]!r}; expected their names, such as ["heart", "eye"], or nothing'
    return None


def _organs(stated: str) -> tuple[str, ...]:
    """From a JSON list. Raises ValueError for anything else."""
    names = json.loads(stated) if stated else []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("it is no list of names")
    return tuple(names)
