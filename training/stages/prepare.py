"""Stage prepare: reads raw volumes, or makes phantoms, checks them, and writes the data set that every stage reads.

Sections 2.1 and 3.1 of the paper; the split into training and validation is by volume.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scans.intensity import SAMPLE_VOXELS, IntensityRule, Window
from scans.organs import OrganMap
from scans.volume import Volume
from training.params import Params, Phantoms, Prepare, load_params
from training.phantom import BEAM_TIME_COUNT, FIRST_FISH, Label, make_phantom
from training.progress import track
from training.split import budget_order
from training.volume_writer import StoredVolume, store_volume
from training.volumes import PREPARED_DIR, Catalogue, SliceReader, Split, VolumeRecord

MARGIN = 0.25
"""A calibrated window is the range between the percentiles of the labelled organs' grey values, and on each side this
share of it more: what surrounds an organ lies outside the organ's range and must keep its contrast to it."""

ORGAN_SLICES = 128
"""Slices of a volume that the calibrated window is measured on, at most."""


@dataclass(frozen=True)
class Prepared:
    """A volume that is in the store, before its window and its split are settled."""

    id: str
    experiment: str
    source: str
    split: Split
    stored: StoredVolume


def prepare(params: Params, out: Path = PREPARED_DIR) -> Catalogue:
    """Writes the prepared data set into `out`, replacing what is there, and returns its catalogue.

    Raises RawDataError, which lists every problem found, and leaves nothing behind.
    """
    section = params.prepare
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    organs = OrganMap.from_yaml(section.raw_dir / "organs.yaml")
    volumes = _phantoms(section.phantoms, seed=params.seed, organs=organs, out=out)
    volumes = _within_budget(volumes, budget=section.labelled_volumes, seed=params.seed)
    catalogue = _catalogue(section, organs=organs, volumes=volumes, out=out)
    catalogue.write(out)
    return catalogue


def _phantoms(wanted: Phantoms, *, seed: int, organs: OrganMap, out: Path) -> list[Prepared]:
    """Makes the synthetic fish; each has a number of its own, whatever the number of the others."""
    drawn = tuple(label.name.lower() for label in Label)
    if organs.names != drawn:
        raise ValueError(f"organs.yaml names {', '.join(organs.names)}; the synthetic fish has {', '.join(drawn)}")
    counts: Mapping[Split, int] = {
        "train": wanted.labelled,
        "validation": wanted.validation,
        "unlabelled": wanted.unlabelled,
    }
    fish: list[tuple[Split, int]] = [(split, number) for split, count in counts.items() for number in range(count)]
    volumes: list[Prepared] = []
    for split, number in track(fish, description="prepare", total=len(fish), unit="fish"):
        beamtime = 1 if split == "train" else 1 + number % BEAM_TIME_COUNT
        index = FIRST_FISH[split] + number
        phantom = make_phantom(
            seed=seed, fish=index, beamtime=beamtime, shape=(wanted.depth, wanted.height, wanted.width)
        )
        volume_id = f"{split}_{number:03d}"
        stored = store_volume(
            out,
            volume_id=volume_id,
            image=Volume.from_array(phantom.image, phantom.spacing),
            labels=None if split == "unlabelled" else Volume.from_array(phantom.labels, phantom.spacing),
            classes=organs.classes,
        )
        source = f"phantom: seed {seed}, fish {index}, beam time {beamtime}"
        volumes.append(Prepared(volume_id, phantom.experiment, source, split, stored))
    return volumes


def _within_budget(volumes: list[Prepared], *, budget: int, seed: int) -> list[Prepared]:
    """The volumes with the training volumes beyond the label budget moved to the reserve; a budget of 0 keeps all."""
    organs = {volume.id: volume.stored.organs for volume in volumes if volume.split == "train"}
    if budget > len(organs):
        raise ValueError(
            f"prepare.labelled_volumes is {budget}; {len(organs)} labelled volumes are left to train on "
            "after the validation volumes are held out"
        )
    beyond = frozenset(budget_order(organs, seed=seed)[budget:]) if budget else frozenset()
    return [replace(volume, split="reserve") if volume.id in beyond else volume for volume in volumes]


def _catalogue(section: Prepare, *, organs: OrganMap, volumes: Iterable[Prepared], out: Path) -> Catalogue:
    ordered = sorted(volumes, key=lambda volume: volume.id)
    rule = IntensityRule(section.lower_percentile, section.upper_percentile)
    reader = SliceReader(out, cache_megabytes=0)
    if section.calibrated:
        training = [volume for volume in ordered if volume.split == "train"]
        rule = replace(rule, fixed=_organ_window(training, rule=rule, reader=reader))
    records = tuple(_record(volume, rule=rule, reader=reader) for volume in ordered)
    return Catalogue(organs=organs, intensity=rule, volumes=records, data_sha256=_data_sha256(records, organs))


def _record(volume: Prepared, *, rule: IntensityRule, reader: SliceReader) -> VolumeRecord:
    stored = volume.stored
    return VolumeRecord(
        id=volume.id,
        experiment=volume.experiment,
        split=volume.split,
        shape=stored.shape,
        affine=stored.frame.affine,
        window=rule.window(reader.image_volume(volume.id, stored.frame)),
        source=volume.source,
        sha256=stored.sha256,
    )


def _organ_window(training: Iterable[Prepared], *, rule: IntensityRule, reader: SliceReader) -> Window:
    """The calibrated window: percentiles over the voxels inside labelled organs of the training volumes, and a margin.

    Validation, reserve and unlabelled volumes have no say. An even grid of voxels of each volume is looked at.
    """
    inside = [_organ_sample(volume, reader) for volume in training]
    window = rule.window_of(np.concatenate(inside))
    margin = MARGIN * (window.upper - window.lower)
    return Window(float(np.float32(window.lower - margin)), float(np.float32(window.upper + margin)))


def _organ_sample(volume: Prepared, reader: SliceReader) -> NDArray[Any]:
    """Grey values inside the organs of one volume, 1-D: of some slices, evenly spread, and at most SAMPLE_VOXELS."""
    voxels = reader.slice_voxels(volume.id)[:, 1:].sum(axis=1)
    occupied = np.flatnonzero(voxels)
    chosen = occupied[:: -(-len(occupied) // ORGAN_SLICES)]
    thin = -(-int(voxels[chosen].sum()) // SAMPLE_VOXELS)
    inside = [reader.image(volume.id, int(z))[reader.labels(volume.id, int(z)) > 0][::thin] for z in chosen]
    return np.concatenate(inside)


def _data_sha256(records: Iterable[VolumeRecord], organs: OrganMap) -> str:
    content = [organs.to_mapping(), [(record.id, record.split, record.sha256) for record in records]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def main() -> None:
    """Runs the stage on params.yaml."""
    params = load_params()
    prepare(params)


if __name__ == "__main__":
    main()
