"""Fish records and sources made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ricefish.atlas.records import FishPictures, FishRecord, OrganRecord
from ricefish.atlas.sources import AtlasSource
from scans.formats import create_volume
from scans.organs import OrganMap
from scans.volume import Volume

PICTURE = b"\x89PNG"
HEART = OrganRecord(
    organ="heart",
    voxels=100,
    volume_mm3=2.0,
    share=0.5,
    surface_mm2=8.0,
    surface_step=1,
    sphericity=0.9,
    head_mm=1.0,
    left_mm=0.1,
    back_mm=-1.0,
    length_mm=2.0,
    width_mm=1.5,
    height_mm=1.4,
    asymmetry=0.1,
    asymmetry_of="halves",
    expected_dice=None,
    dice_low=None,
    dice_high=None,
    touches_border=False,
)


def fish(name: str, *organs: OrganRecord, group: str = "all", **changed: object) -> FishRecord:
    """With a heart, unless other organs are given."""
    record = FishRecord(
        name=name,
        source=f"/data/{name}.nii.gz",
        organs=organs or (HEART,),
        colours={organ.organ: (213, 40, 40) for organ in organs or (HEART,)},
        share_of="labelled organs",
        axes="head: organs, left: pairs, back: organs",
        determined=True,
        mirrored=False,
        touches_border=any(organ.touches_border for organ in organs),
        voxel_mm=0.1,
        pictures=FishPictures(PICTURE, PICTURE, PICTURE, length_mm=12.0, width_mm=3.0, height_mm=4.0),
        group=group,
    )
    return replace(record, **changed)  # type: ignore[arg-type]  # what fields there are, a test knows


def heart(volume_mm3: float, **changed: object) -> OrganRecord:
    return replace(HEART, volume_mm3=volume_mm3, **changed)  # type: ignore[arg-type]  # as above


def source(name: str) -> AtlasSource:
    return AtlasSource(name, Path(f"/data/{name}.nii.gz"))


def save(path: Path, volume: Volume, organs: OrganMap | None) -> Path:
    with create_volume(path, shape=volume.shape, dtype=np.uint8, frame=volume.frame, organs=organs) as writer:
        writer.write(volume.read())
    return path
