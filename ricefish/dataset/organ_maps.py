"""Organ maps: whether labels of a server's scan are labels of a data set, and which number there is which here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scans.formats import create_volume, open_volume
from scans.organs import NOT_LABELLED, NOT_LABELLED_NAME, OrganMap

_SLAB_SLICES = 16


def disagreements(ours: OrganMap, theirs: OrganMap, *, not_labelled: bool) -> Iterator[str]:
    """Why labels of `theirs` cannot be labels of a data set with the organs `ours`; nothing where they can.

    `not_labelled`: they hold NOT_LABELLED. Numbers may differ, names may not.
    """
    if unknown := sorted(set(theirs.names) - set(ours.names)):
        yield f"its model knows {', '.join(unknown)}, which organs.yaml does not name; it names {', '.join(ours.names)}"
    if missing := sorted(set(ours.names) - set(theirs.names)):
        yield (
            f"organs.yaml names {', '.join(missing)}, which its model does not know: its labels would teach that there "
            "is none"
        )
    if not_labelled and not ours.not_labelled:
        yield (
            f"its correction holds {NOT_LABELLED}, where nobody has looked; organs.yaml has to say so by the line "
            f"`{NOT_LABELLED}: {NOT_LABELLED_NAME}`"
        )


def write_organs(path: Path, organs: OrganMap, *, not_labelled: bool) -> None:
    """A new organs.yaml, a line for each organ."""
    lines = [f'{one.index}: {{name: "{one.name}", colour: {list(one.colour)}}}' for one in organs.organs]
    if not_labelled:
        lines.append(f"{NOT_LABELLED}: {NOT_LABELLED_NAME}")
    beside = path.with_name(f".{path.name}.part")
    beside.write_text("\n".join([*lines, ""]), encoding="utf-8")
    beside.replace(path)


def renumber(labels: Path, ours: OrganMap, theirs: OrganMap) -> None:
    """Gives labels in a file the numbers of `ours` where those of `theirs` are others; both name the same organs."""
    lookup = _lookup(ours, theirs)
    if np.array_equal(lookup, np.arange(len(lookup))):
        return
    renumbered = labels.with_name(f"renumbered-{labels.name}")
    with open_volume(labels, labels=True) as volume:
        frame, shape = volume.frame, volume.shape
        with create_volume(renumbered, shape=shape, dtype=np.uint8, frame=frame, organs=ours) as writer:
            for _, slab in volume.slabs(_SLAB_SLICES):
                writer.write(lookup[slab])
    renumbered.replace(labels)


def _lookup(ours: OrganMap, theirs: OrganMap) -> NDArray[np.uint8]:
    """uint8 (256,): our number of each of theirs."""
    index_of = {organ.name: organ.index for organ in ours.organs}
    lookup = np.arange(256, dtype=np.uint8)
    for organ in theirs.organs:
        lookup[organ.index] = index_of[organ.name]
    return lookup
