"""The store of pseudo-labels, one sharded Zarr group per volume, and the list of those kept for the Student."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import zarr
from numpy.typing import NDArray

from scans.geometry import Box, Triple
from training.data.prepared import create_array
from training.stage_files import AGAIN, read_json, stage_file

PSEUDO_LABELS_DIR = Path("data/pseudo_labels")
REFINED_DIR = Path("data/refined")
REFINED_FILE = "refined.json"


class PseudoLabelError(ValueError):
    """A store of pseudo-labels that cannot be used; the message names the file and what would be right."""


class Confidence(NamedTuple):
    """How sure whoever labelled is: the Teacher's probability of the class, or what `fusion.fused` gives, 0..1."""

    slices: NDArray[np.float32]
    """(z,): mean over each slice."""
    organs: NDArray[np.float32]
    """(z, organs): mean over the pixels of each organ in each slice; NaN where it has none."""


class PseudoLabelWriter:
    """One volume's segmentation while it is made: `labels` uint8 (Z, Y, X), and `confidence` and `organ_confidence` if
    given.

    Slabs come upwards; those of `volumes.shard_slices` are written fastest, since each fills a shard.
    """

    def __init__(self, folder: Path, volume_id: str, shape: Triple) -> None:
        self._group = zarr.open_group(folder / f"{volume_id}.zarr", mode="w")
        self._labels = create_array(self._group, "labels", shape=shape, dtype=np.dtype(np.uint8))
        self._confidence: list[Confidence] = []
        self._written = 0
        self._id = volume_id

    def write(self, box: Box, labels: NDArray[np.uint8], confidence: Confidence | None = None) -> None:
        """Appends a slab: uint8 (z, Y, X) class indices that fill `box`, and the confidence of its slices.

        Raises PseudoLabelError unless the slab follows the one before it.
        """
        if box.start[0] != self._written:
            raise PseudoLabelError(f"{self._id}: slab at slice {box.start[0]}; the next slice is {self._written}")
        self._labels[box.start[0] : box.stop[0]] = labels
        self._written = box.stop[0]
        if confidence is not None:
            self._confidence.append(confidence)

    def close(self) -> None:
        """Writes the confidence. Raises PseudoLabelError unless every slice came."""
        if self._written != self._labels.shape[0]:
            raise PseudoLabelError(f"{self._id}: {self._written} of {self._labels.shape[0]} slices were written")
        if self._confidence:
            for name, parts in zip(
                ("confidence", "organ_confidence"), zip(*self._confidence, strict=True), strict=True
            ):
                whole = np.concatenate(parts).astype(np.float32)
                self._group.create_array(name, data=whole, chunks=whole.shape)

    def __enter__(self) -> PseudoLabelWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()


class PseudoLabelReader:
    """Pseudo-labels of single slices, in any order."""

    def __init__(self, folder: Path = PSEUDO_LABELS_DIR) -> None:
        self._folder = folder
        self._groups: dict[str, zarr.Group] = {}

    def labels(self, volume_id: str, slice_index: int) -> NDArray[np.uint8]:
        """Class index of each pixel of one slice, uint8 (Y, X)."""
        decoded: NDArray[np.uint8] = np.asarray(self.array(volume_id)[slice_index])
        return decoded

    def confidence(self, volume_id: str) -> NDArray[np.float32]:
        """float32 (Z,): the mean over each slice of how sure whoever labelled is of the class, 0..1: the Teacher's
        probability, or what `fusion.fused` gives."""
        decoded: NDArray[np.float32] = np.asarray(self._open(volume_id, "confidence")[:])
        return decoded

    def organ_confidence(self, volume_id: str) -> NDArray[np.float32]:
        """float32 (Z, organs): the same, over the pixels of each organ in each slice; NaN where it has none."""
        decoded: NDArray[np.float32] = np.asarray(self._open(volume_id, "organ_confidence")[:])
        return decoded

    def array(self, volume_id: str) -> zarr.Array[Any]:
        """The lazy uint8 (Z, Y, X) labels of a volume. Raises PseudoLabelError where there are none."""
        return self._open(volume_id, "labels")

    def _open(self, volume_id: str, name: str) -> zarr.Array[Any]:
        if volume_id not in self._groups:
            path = self._folder / f"{volume_id}.zarr"
            if not path.is_dir():
                raise PseudoLabelError(f"{path} does not exist: volume {volume_id} has no pseudo-labels; {AGAIN}")
            with stage_file(path):
                self._groups[volume_id] = zarr.open_group(path, mode="r")
        with stage_file(self._folder / f"{volume_id}.zarr" / name):
            return cast("zarr.Array[Any]", self._groups[volume_id][name])


@dataclass(frozen=True)
class KeptSlice:
    """A pseudo-labelled slice that the Student learns from."""

    volume_id: str
    slice_index: int
    probability: float
    """That the pseudo-label is good, 0..1, as the Quality Classifier sees it; 1 where it did not judge."""


def write_refined(
    folder: Path,
    kept: Iterable[KeptSlice],
    *,
    volumes: Mapping[str, Mapping[str, Any]],
    changed: bool = False,
    labels_sha256: str = "",
) -> None:
    """Writes refined.json: the kept slices, and counts per volume. Readers never see half of it.

    `changed`: their labels stand in `folder` too, one group per volume as in the store of pseudo-labels.
    `labels_sha256`: hash of all labels that the slices were kept from.
    """
    rows = [[slice_.volume_id, slice_.slice_index, round(slice_.probability, 6)] for slice_ in kept]
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f"{REFINED_FILE}.part"
    content = {"changed": changed, "labels_sha256": labels_sha256, "kept": rows, "volumes": volumes}
    beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    beside.replace(folder / REFINED_FILE)


def refined_labels_dir(folder: Path = REFINED_DIR, *, pseudo_labels_dir: Path = PSEUDO_LABELS_DIR) -> Path:
    """Where the labels of the kept slices stand: in `folder` where refine changed them. Raises StageFileError."""
    path = folder / REFINED_FILE
    with stage_file(path):
        return folder if read_json(path)["changed"] else pseudo_labels_dir


def refined_labels_sha256(folder: Path = REFINED_DIR) -> str:
    """Hash of the labels that the slices were kept from. Raises StageFileError."""
    path = folder / REFINED_FILE
    with stage_file(path):
        return str(read_json(path)["labels_sha256"])


def read_refined(folder: Path = REFINED_DIR) -> tuple[KeptSlice, ...]:
    """The kept slices of refined.json, by volume and slice. Raises StageFileError, and PseudoLabelError that names the
    row at fault.
    """
    path = folder / REFINED_FILE
    with stage_file(path):
        rows: Sequence[Any] = read_json(path)["kept"]
    kept: list[KeptSlice] = []
    for number, row in enumerate(rows):
        match row:
            case [str(volume_id), int(slice_index), int() | float() as probability]:
                kept.append(KeptSlice(volume_id, slice_index, float(probability)))
            case _:
                raise PseudoLabelError(f"{path}: kept[{number}] is {row!r}; expected [volume, slice, probability]")
    return tuple(sorted(kept, key=lambda slice_: (slice_.volume_id, slice_.slice_index)))
