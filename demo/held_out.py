"""A held-out fish: a validation volume of the pipeline, which nothing learnt from, with its truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.formats import create_volume
from scans.geometry import Box
from scans.measures.statistics import OrganRow, OrganStatistics
from scans.organs import OrganMap
from training.data.prepared import PREPARED_DIR, Catalogue, SliceReader, VolumeRecord


@dataclass(frozen=True)
class HeldOutFish:
    """One validation volume."""

    record: VolumeRecord
    organs: OrganMap
    image: NDArray[Any]
    """(Z, Y, X) grey values."""
    truth: NDArray[np.uint8]
    """(Z, Y, X) class index of each voxel."""

    def write_scan(self, path: Path) -> None:
        """Writes the image, in the format of the path's suffix, with its place in space."""
        with create_volume(path, shape=self.record.shape, dtype=self.image.dtype, frame=self.record.frame) as writer:
            writer.write(self.image)

    def true_rows(self) -> list[OrganRow]:
        """The organ table of the truth."""
        box = Box.of_shape(self.record.shape)
        statistics = OrganStatistics.of(self.truth, box=box, classes=self.organs.classes)
        return statistics.table(self.organs, self.record.frame, self.record.shape)


def held_out_fish(prepared: Path = PREPARED_DIR) -> HeldOutFish:
    """The first validation volume of the prepared data set."""
    catalogue = Catalogue.read(prepared)
    record = catalogue.split("validation")[0]
    reader = SliceReader(prepared, cache_megabytes=1)
    depth = record.shape[0]
    return HeldOutFish(
        record=record,
        organs=catalogue.organs,
        image=reader.volume(record).slab(0, depth),
        truth=reader.label_volume(record).slab(0, depth).astype(np.uint8),
    )
