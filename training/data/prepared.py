"""The prepared data set: one sharded Zarr group per volume, and volumes.json that says what each one is."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import zarr
from numpy.typing import NDArray

from scans.geometry import Frame, Spacing, Triple
from scans.intensity import IntensityRule, Window
from scans.organs import OrganMap
from scans.raw.provenance import Origin, origin_from
from scans.volume import ArrayVoxels, Volume
from training.stage_files import read_json, stage_file

PREPARED_DIR = Path("data/prepared")
VOLUMES_FILE = "volumes.json"
SHARD_SLICES = 64
SHARD_BYTES = 256_000_000
"""A shard is written at once, so it bounds the memory of whoever writes; it holds fewer slices where they are large."""
CHUNK_SIDE = 256

Split = Literal["train", "validation", "unlabelled", "reserve"]
"""reserve: labelled, but beyond `prepare.labelled_volumes`; nothing learns from it."""
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class VolumeRecord:
    """One line of volumes.json."""

    id: str
    """Unique name, and that of the Zarr group `ID.zarr`: arrays `image`, and where labelled `labels` and
    `slice_voxels` (uint32 (Z, classes): voxels of each class in each slice; NOT_LABELLED is none of them). What else is
    in it: see `truth`."""
    experiment: str
    """Beam time or facility; "" where the raw folder names none."""
    split: Split
    shape: Triple
    affine: tuple[tuple[float, ...], ...]
    """Voxel index (x, y, z, 1) to RAS+ mm."""
    window: Window
    """What normalisation maps to 0..1 in this volume."""
    source: str
    """File or folder that it was read from, relative to the raw folder; a phantom's description."""
    sha256: str
    """Hash of its voxels, labels included."""
    origin: Origin | None = None
    """The server and scan that it is from, and the correction that its labels are; None where nobody says so."""

    @property
    def frame(self) -> Frame:
        """Its place in space."""
        return Frame(self.affine)

    @property
    def spacing(self) -> Spacing:
        """Distance between voxel centres in mm."""
        return self.frame.spacing

    @property
    def labelled(self) -> bool:
        """True where it has labels."""
        return self.split != "unlabelled"


@dataclass(frozen=True)
class Catalogue:
    """volumes.json: every prepared volume, the organs, and the intensity rule that they share."""

    organs: OrganMap
    intensity: IntensityRule
    volumes: tuple[VolumeRecord, ...]
    data_sha256: str
    """Hash over the volumes' hashes, splits and organs."""
    data_set: str = ""
    """What the data set is called, however it grows."""

    def split(self, split: Split) -> tuple[VolumeRecord, ...]:
        """The volumes of one split, in order of id."""
        return tuple(volume for volume in self.volumes if volume.split == split)

    @property
    def corrections(self) -> dict[str, Origin]:
        """Of what is learnt from or measured with, where the labels are from that correct a model's answer, by id."""
        used = (*self.split("train"), *self.split("validation"))
        return {one.id: one.origin for one in used if one.origin is not None and one.origin.correction}

    def slices(self, *splits: Split) -> int:
        """How many slices the volumes of some splits have."""
        return sum(volume.shape[0] for volume in self.volumes if volume.split in splits)

    def write(self, folder: Path) -> None:
        """Writes volumes.json into the folder."""
        content = {
            "organs": self.organs.to_mapping(),
            "intensity": asdict(self.intensity),
            "data_sha256": self.data_sha256,
            "data_set": self.data_set,
            "volumes": [asdict(volume) for volume in self.volumes],
        }
        (folder / VOLUMES_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path = PREPARED_DIR) -> Catalogue:
        """From volumes.json in the folder. Raises StageFileError."""
        path = folder / VOLUMES_FILE
        with stage_file(path):
            content = read_json(path)
            rule = content["intensity"]
            fixed = Window(**rule["fixed"]) if rule["fixed"] else None
            return cls(
                organs=OrganMap.from_mapping(content["organs"]),
                intensity=IntensityRule(rule["lower_percentile"], rule["upper_percentile"], fixed),
                volumes=tuple(_record(volume) for volume in content["volumes"]),
                data_sha256=content["data_sha256"],
                data_set=content["data_set"],
            )


def _record(content: Mapping[str, Any]) -> VolumeRecord:
    z, y, x = content["shape"]
    affine = tuple(tuple(float(v) for v in row) for row in content["affine"])
    window, origin = Window(**content["window"]), origin_from(content.get("origin"))
    return VolumeRecord(**{**content, "shape": (z, y, x), "affine": affine, "window": window, "origin": origin})


def shard_slices(shape: Triple, dtype: np.dtype[Any]) -> int:
    """How many slices of an array of that shape and type share a shard: whoever writes so many at a time, from the
    first slice upwards, writes each file once."""
    z, y, x = shape
    depth = SHARD_SLICES
    while depth > 1 and depth * y * x * dtype.itemsize > SHARD_BYTES:
        depth //= 2
    return min(depth, z)


def create_array(group: zarr.Group, name: str, *, shape: Triple, dtype: np.dtype[Any]) -> zarr.Array[Any]:
    """A (Z, Y, X) array whose chunks are pieces of single slices, in few files: one for `shard_slices` slices."""
    _, y, x = shape
    chunk = (1, min(CHUNK_SIDE, y), min(CHUNK_SIDE, x))
    shard = (shard_slices(shape, dtype), -(-y // chunk[1]) * chunk[1], -(-x // chunk[2]) * chunk[2])
    return group.create_array(name, shape=shape, dtype=dtype, chunks=chunk, shards=shard)


class SliceReader:
    """Slices of prepared volumes in any order: a whole volume is never read; decoded slices are kept up to a limit."""

    def __init__(self, folder: Path, *, cache_megabytes: int) -> None:
        self._folder = folder
        self._limit = cache_megabytes * 1_000_000
        self._cached = 0
        self._slices: OrderedDict[tuple[str, str, int], NDArray[Any]] = OrderedDict()
        self._arrays: dict[tuple[str, str], zarr.Array[Any]] = {}

    def image(self, volume_id: str, slice_index: int) -> NDArray[Any]:
        """Raw grey values of one slice, (Y, X); not to be written to."""
        return self._slice(volume_id, "image", slice_index)

    def labels(self, volume_id: str, slice_index: int) -> NDArray[np.uint8]:
        """Class index of each pixel of one slice, or NOT_LABELLED, uint8 (Y, X); not to be written to."""
        return self._slice(volume_id, "labels", slice_index)

    def slice_voxels(self, volume_id: str) -> NDArray[np.uint32]:
        """uint32 (Z, classes): how many voxels of each class each slice of a labelled volume holds. A row of zeros is a
        slice that nobody has looked at."""
        counts: NDArray[np.uint32] = np.asarray(self.array(volume_id, "slice_voxels")[:])
        return counts

    def volume(self, record: VolumeRecord) -> Volume:
        """The lazy image with its frame."""
        return self.image_volume(record.id, record.frame)

    def image_volume(self, volume_id: str, frame: Frame) -> Volume:
        """The lazy image of a volume that is in no catalogue yet."""
        return Volume(ArrayVoxels(self.array(volume_id, "image")), frame)

    def label_volume(self, record: VolumeRecord) -> Volume:
        """The lazy labels with their frame."""
        return Volume(ArrayVoxels(self.array(record.id, "labels")), record.frame)

    def array(self, volume_id: str, name: str) -> zarr.Array[Any]:
        """An array of a volume's group, such as `image` or `labels`, which reads what is asked of it."""
        key = (volume_id, name)
        if key not in self._arrays:
            path = self._folder / f"{volume_id}.zarr"
            with stage_file(path / name):
                self._arrays[key] = zarr.open_array(path, path=name, mode="r")
        return self._arrays[key]

    def _slice(self, volume_id: str, name: str, slice_index: int) -> NDArray[Any]:
        key = (volume_id, name, slice_index)
        if key in self._slices:
            self._slices.move_to_end(key)
            return self._slices[key]
        decoded = np.asarray(self.array(volume_id, name)[slice_index])
        decoded.flags.writeable = False
        self._slices[key] = decoded
        self._cached += decoded.nbytes
        while self._cached > self._limit and len(self._slices) > 1:
            self._cached -= self._slices.popitem(last=False)[1].nbytes
        return decoded
