"""Whether all slices of a DICOM series are there, by what they state, and their order where they state no place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pydicom

from scans.formats.errors import WHOLE_FILE, FormatError

ORDER_TAGS = ("InstanceNumber", "AcquisitionNumber", "ImagesInAcquisition", "NumberOfSlices")
"""What `SliceNumbers` reads."""

_PLACED = "slices with ImagePositionPatient, or with an InstanceNumber each and the spacing given with them"


@dataclass(frozen=True)
class SliceNumbers:
    """The numbers that a slice has, and those that it states of its series."""

    instance: int | None
    acquisition: int | None
    in_acquisition: int | None
    """How many images came from the acquisition, this one among them."""
    in_series: int | None
    """How many slices the volume has."""

    @classmethod
    def of(cls, header: pydicom.Dataset) -> SliceNumbers:
        """From a slice's header; None for each number that is not there."""
        instance, acquisition, images, slices = (_whole(header.get(name)) for name in ORDER_TAGS)
        return cls(instance, acquisition, images, slices)

    def at(self, instance: int) -> SliceNumbers:
        """Those of another slice of the same series."""
        return replace(self, instance=instance)


def _whole(value: Any) -> int | None:
    text = str(value).strip() if value is not None else ""
    return int(text) if text.lstrip("+-").isdigit() and len(text) <= 12 else None


def require_all(path: Path, slices: Sequence[SliceNumbers]) -> None:
    """Raises FormatError where the slices state that there are more of them.

    There may be more than stated: images of one acquisition are worked out into several series.
    """
    acquisitions: dict[int | None, list[int | None]] = defaultdict(list)
    for one in slices:
        acquisitions[one.acquisition].append(one.in_acquisition)
    counts = [("ImagesInAcquisition", numbers) for numbers in acquisitions.values()]
    for field, numbers in [*counts, ("NumberOfSlices", [one.in_series for one in slices])]:
        stated = set(numbers)
        if len(stated) == 1 and (count := stated.pop()) is not None and count > len(numbers):
            raise FormatError(path, f"states {count} slices ({field}), holds {len(numbers)}", WHOLE_FILE)


def in_order(path: Path, slices: Sequence[tuple[str, SliceNumbers]]) -> list[int]:
    """The order of slices that do not say where they lie, by InstanceNumber: their indices.

    Raises FormatError that names the files where one has no number, two have the same, or one is missing.
    """
    numbered: list[tuple[int, int]] = []
    for index, (name, numbers) in enumerate(slices):
        if numbers.instance is None and len(slices) > 1:
            found = f"{name} says neither where it lies nor which slice it is (ImagePositionPatient, InstanceNumber)"
            raise FormatError(path, found, _PLACED)
        numbered.append((numbers.instance or 0, index))
    numbered.sort()
    usual = min((after - before for (before, _), (after, _) in pairwise(numbered) if after > before), default=0)
    for (before, one), (after, other) in pairwise(numbered):
        names = f"{slices[one][0]} and {slices[other][0]}"
        if after == before:
            raise FormatError(path, f"{names} have the same InstanceNumber, {before}, and no place", _PLACED)
        if after - before != usual:
            found = f"no slices between {names}: InstanceNumber {before} and {after}"
            raise FormatError(path, found, "slices whose InstanceNumber have no gap")
    return [index for _, index in numbered]
