"""The examples of the Quality Classifier: slices with a mask and a verdict, as label_quality writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray

from training.data.prepared import create_array, shard_slices
from training.stage_files import read_json, stage_file

EXAMPLES_DIR = Path("data/label_quality")
EXAMPLES_FILE = "examples.json"

Source = Literal["review", "cross_fit", "corrupted"]
"""A person's verdict on a network's mask; a prediction scored against the truth; a truth that was damaged, scored."""


@dataclass(frozen=True)
class Example:
    """A slice of a prepared volume, a mask for it, and whether the mask is good."""

    volume_id: str
    slice_index: int
    row: int
    """Where its mask stands in `VOLUME.zarr/masks`, uint8 (rows, Y, X)."""
    good: bool
    iou: float | None
    """IoU of the mask, its organs pooled, 0..1; None where a person judged."""
    dice: tuple[float | None, ...] | None
    """Dice of each organ, in the order of class indices, 0..1, None where the organ is neither in the mask nor in the
    truth; None where a person judged."""
    source: Source


@dataclass(frozen=True)
class Candidate:
    """An example before it is written."""

    volume_id: str
    slice_index: int
    good: bool
    iou: float | None
    dice: tuple[float | None, ...] | None
    source: Source
    read_mask: Callable[[], NDArray[np.uint8]]
    """Gives its mask, uint8 (Y, X), the same each time."""


def write_examples(folder: Path, candidates: Iterable[Candidate]) -> tuple[Example, ...]:
    """Writes examples.json and the masks, a shard at a time; returns the examples, by volume and slice."""
    folder.mkdir(parents=True, exist_ok=True)
    ordered = sorted(candidates, key=lambda c: (c.volume_id, c.slice_index, c.source))
    examples: list[Example] = []
    for volume_id, of_volume in groupby(ordered, key=lambda c: c.volume_id):
        own = list(of_volume)
        _write_masks(folder / f"{volume_id}.zarr", own)
        examples += [
            Example(volume_id, c.slice_index, row=row, good=c.good, iou=c.iou, dice=c.dice, source=c.source)
            for row, c in enumerate(own)
        ]
    content = {"examples": [asdict(example) for example in examples]}
    (folder / EXAMPLES_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return tuple(examples)


def _write_masks(path: Path, candidates: Sequence[Candidate]) -> None:
    height, width = candidates[0].read_mask().shape
    shape = (len(candidates), height, width)
    masks = create_array(zarr.open_group(path, mode="w"), "masks", shape=shape, dtype=np.dtype(np.uint8))
    depth = shard_slices(shape, masks.dtype)
    for start in range(0, len(candidates), depth):
        shard = candidates[start : start + depth]
        masks[start : start + len(shard)] = np.stack([candidate.read_mask() for candidate in shard])


def read_examples(folder: Path = EXAMPLES_DIR) -> tuple[Example, ...]:
    """What `write_examples` wrote, in its order. Raises StageFileError."""
    path = folder / EXAMPLES_FILE
    with stage_file(path):
        rows = read_json(path)["examples"]
        return tuple(Example(**{**row, "dice": None if row["dice"] is None else tuple(row["dice"])}) for row in rows)


class MaskReader:
    """The masks of examples, in any order."""

    def __init__(self, folder: Path = EXAMPLES_DIR) -> None:
        self._folder = folder
        self._masks: dict[str, zarr.Array[Any]] = {}

    def mask(self, example: Example) -> NDArray[np.uint8]:
        """Class index of each pixel, uint8 (Y, X)."""
        if example.volume_id not in self._masks:
            path = self._folder / f"{example.volume_id}.zarr"
            with stage_file(path):
                self._masks[example.volume_id] = zarr.open_array(path, path="masks", mode="r")
        decoded: NDArray[np.uint8] = np.asarray(self._masks[example.volume_id][example.row])
        return decoded


def drawn_evenly(candidates: Sequence[Candidate], count: int, *, rng: np.random.Generator) -> tuple[Candidate, ...]:
    """At most `count` of the scored ones: every volume as often, and within a volume every tenth of IoU as often.

    Where a volume or a tenth of IoU has too few, the others give more. Raises ValueError where one has no IoU.
    """
    volumes = []
    for volume_id in sorted({candidate.volume_id for candidate in candidates}):
        tenths: list[list[Candidate]] = [[] for _ in range(10)]
        for candidate in (c for c in candidates if c.volume_id == volume_id):
            if candidate.iou is None:
                raise ValueError(f"slice {candidate.slice_index} of {volume_id} has no IoU to draw it by")
            tenths[min(int(candidate.iou * 10), 9)].append(candidate)
        shuffled = [[tenth[i] for i in rng.permutation(len(tenth))] for tenth in tenths]
        volumes.append(_interleaved(shuffled))
    return tuple(_interleaved(volumes)[:count])


def _interleaved(lists: Sequence[Sequence[Candidate]]) -> list[Candidate]:
    """The first of each list, then the second of each, and so on."""
    longest = max((len(items) for items in lists), default=0)
    return [items[i] for i in range(longest) for items in lists if i < len(items)]
