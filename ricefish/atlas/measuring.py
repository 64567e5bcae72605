"""One fish of an atlas, measured: from a file, or from a server's segmentation, which is fetched and removed again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ricefish.atlas.label_volume import open_label_volume
from ricefish.atlas.projections import projections
from ricefish.atlas.records import FishRecord, OrganRecord
from ricefish.atlas.sources import AtlasSource
from ricefish.client import Client
from scans.formats import FormatError
from scans.formats.stated_labels import organ_name
from scans.geometry import Spacing
from scans.model.expected_dice import ExpectedDice
from scans.organs import OrganMap
from scans.shape.morphometry import FishShape, OrganShape, Report, measure

_FETCHED = "segmentation.seg.nrrd"
"""Keeps names, colours and any affine."""


@dataclass(frozen=True)
class AtlasOptions:
    """What all fish of an atlas are read with."""

    organs: OrganMap | None = None
    """None: each file names its own."""
    spacing: Spacing | None = None
    server: str = "http://127.0.0.1:8000"
    key: str | None = None
    ca: Path | None = None


def measure_fish(source: AtlasSource, options: AtlasOptions, report: Report = lambda share: None) -> FishRecord:
    """Measures a fish and draws it.

    Raises FormatError, and OSError or RicefishError where a file or a server does not answer.
    """
    with _at_hand(source, options) as (path, expected):
        with open_label_volume(path, organs=options.organs, spacing=options.spacing) as (labels, organs):
            try:
                shape = measure(labels, organs, report=report)
            except FormatError:
                raise
            except ValueError as error:
                raise FormatError(path, str(error), "class indices of organs, 0 elsewhere") from error
            voxel_mm = max(labels.spacing)
        return _record(source, shape, organs, expected=expected, voxel_mm=voxel_mm)


@contextmanager
def _at_hand(source: AtlasSource, options: AtlasOptions) -> Iterator[tuple[Path, Mapping[str, ExpectedDice]]]:
    """Its file, and what Dice is expected of its organs."""
    if source.path is not None:
        yield source.path, {}
        return
    with (
        tempfile.TemporaryDirectory(prefix="ricefish-atlas-") as folder,
        Client(options.server, key=options.key, ca=options.ca) as client,
    ):
        path = client.download(source.scan_id, Path(folder) / _FETCHED)
        rows = client.organs(source.scan_id)
        yield path, {organ_name(row.name): row.expected_dice for row in rows if row.expected_dice is not None}


def _record(
    source: AtlasSource, shape: FishShape, organs: OrganMap, *, expected: Mapping[str, ExpectedDice], voxel_mm: float
) -> FishRecord:
    told = ", ".join(f"{axis}: {way}" for axis, way in zip(("head", "left", "back"), shape.axes.told, strict=True))
    return FishRecord(
        name=source.name,
        source=source.shown,
        organs=tuple(_row(organ, expected.get(organ_name(organ.name))) for organ in shape.organs),
        colours={organ.name: organ.colour for organ in organs.organs},
        share_of=shape.share_of,
        axes=told,
        determined=shape.axes.determined,
        mirrored=shape.axes.mirrored,
        touches_border=shape.touches_border,
        voxel_mm=voxel_mm,
        pictures=projections(shape, organs),
    )


def _row(organ: OrganShape, expected: ExpectedDice | None) -> OrganRecord:
    head, left, back = organ.place_mm or (None, None, None)
    length, width, height = organ.extent_mm or (None, None, None)
    return OrganRecord(
        organ=organ.name,
        voxels=organ.voxels,
        volume_mm3=organ.volume_mm3,
        share=organ.share,
        surface_mm2=organ.surface_mm2,
        surface_step=organ.surface_step,
        sphericity=organ.sphericity,
        head_mm=head,
        left_mm=left,
        back_mm=back,
        length_mm=length,
        width_mm=width,
        height_mm=height,
        asymmetry=organ.asymmetry,
        asymmetry_of="pair" if organ.paired else "halves",
        expected_dice=None if expected is None else expected.dice,
        dice_low=None if expected is None else expected.low,
        dice_high=None if expected is None else expected.high,
        touches_border=organ.touches_border,
    )
