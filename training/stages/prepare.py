"""Stage prepare: reads raw volumes, or makes phantoms, checks them, and writes the data set that every stage reads.

Sections 2.1 and 3.1 of the paper; the split into training and validation is by volume.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scans.formats import FormatError
from scans.grids import of_shear
from scans.intensity import IntensityRule
from scans.organs import NOT_LABELLED, NOT_LABELLED_NAME, OrganMap
from scans.raw.class_indices import as_text
from scans.raw.provenance import Origin
from scans.volume import Volume
from training.command import StageError, run_command
from training.data.organ_window import organ_window
from training.data.prepared import PREPARED_DIR, SPLITS, Catalogue, SliceReader, Split, VolumeRecord
from training.data.raw import RawData, RawDataError, RawScan, discover
from training.data.split import budget_order, held_out, held_out_count
from training.data.truth import write_truth
from training.data.volume_writer import StoredVolume, store_volume
from training.params import Params, Phantoms, Prepare
from training.phantom.canvas import Label
from training.phantom.fish import BEAM_TIME_COUNT, FIRST_FISH, make_phantom
from training.progress import track
from training.run_stage import Report, run_stage
from training.tracking.runs import StageRun

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A volume that is in the store, before its window and its split are settled."""

    id: str
    experiment: str
    source: str
    split: Split
    stored: StoredVolume
    origin: Origin | None = None


def prepare(params: Params, out: Path = PREPARED_DIR) -> Catalogue:
    """Writes the prepared data set into `out`, replacing what is there, and returns its catalogue.

    Volumes pass slab by slab. Raises StageError where there is no raw folder, before anything is removed;
    RawDataError, which lists every problem found, and leaves nothing behind.
    """
    section = params.prepare
    if not section.raw_dir.is_dir():
        raise StageError(
            f"raw_dir in params.yaml is {section.raw_dir}, and {section.raw_dir.absolute()} is no folder; name the one "
            "that holds organs.yaml: `dvc exp run -S raw_dir=FOLDER`"
        )
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    try:
        if any(section.phantoms.wanted):
            organs = _organs_of_phantoms(section)
            volumes = _phantoms(section.phantoms, seed=section.seed, organs=organs, out=out)
        else:
            raw = discover(section.raw_dir)
            labelled = sum(scan.labels is not None for scan in raw.scans)
            _check_budget(section, labelled=labelled - held_out_count(labelled, share=section.validation_share))
            organs, volumes = raw.organs, _raw_volumes(raw, share=section.validation_share, seed=section.seed, out=out)
        volumes = _within_budget(volumes, budget=section.labelled_volumes, seed=section.seed)
        _warn_of_gaps(volumes, organs)
        catalogue = _catalogue(section, organs=organs, volumes=volumes, out=out)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    catalogue.write(out)
    return catalogue


def _organs_of_phantoms(section: Prepare) -> OrganMap:
    """Of synthetic fish. Raises StageError where the raw folder is of other organs, or holds scans of somebody's."""
    way_out = (
        "prepare.phantoms in params.yaml asks for synthetic fish; to read the scans of raw_dir, switch to a profile "
        "without them, such as `dvc exp run -S profile=paper`, or set its three numbers of fish to 0"
    )
    if scans := [name for name in ("labelled", "unlabelled") if (section.raw_dir / name).exists()]:
        raise StageError(f"{section.raw_dir} holds {' and '.join(scans)}/, and {way_out}")
    organs, drawn = OrganMap.from_yaml(section.raw_dir / "organs.yaml"), tuple(label.name.lower() for label in Label)
    if organs.names != drawn:
        fish = f"the synthetic fish has {', '.join(drawn)}, and {way_out}"
        raise StageError(f"{section.raw_dir / 'organs.yaml'} names {', '.join(organs.names)}; {fish}")
    _check_budget(section, labelled=section.phantoms.labelled)
    return replace(organs, not_labelled=organs.not_labelled or section.phantoms.label_every > 1)


def _check_budget(section: Prepare, *, labelled: int) -> None:
    """Raises StageError where more labels are asked for than the training volumes have."""
    if labelled and section.labelled_volumes > labelled:
        left = f"{labelled} labelled volumes are left to train on after the validation volumes are held out"
        raise StageError(f"prepare.labelled_volumes is {section.labelled_volumes}; {left}")


def _phantoms(wanted: Phantoms, *, seed: int, organs: OrganMap, out: Path) -> list[Prepared]:
    """Makes the synthetic fish; each has a number of its own, whatever the number of the others."""
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
        labels = phantom.labels if split == "validation" else _every(wanted.label_every, phantom.labels)
        stored = store_volume(
            out,
            volume_id=volume_id,
            image=Volume.from_array(phantom.image, phantom.spacing),
            labels=None if split == "unlabelled" else Volume.from_array(labels, phantom.spacing),
            organs=organs,
        )
        if split == "unlabelled":
            write_truth(out, volume_id, phantom.labels)
        source = f"phantom: seed {seed}, fish {index}, beam time {beamtime}"
        volumes.append(Prepared(volume_id, phantom.experiment, source, split, stored))
    return volumes


def _every(number: int, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels of a whole fish as somebody leaves them who looked at one slice in `number`."""
    known = np.arange(len(labels)) % number == number // 2
    return np.where(known[:, np.newaxis, np.newaxis], labels, np.uint8(NOT_LABELLED))


def _raw_volumes(raw: RawData, *, share: float, seed: int, out: Path) -> list[Prepared]:
    """Stores every scan of a raw data set. Raises RawDataError with all that is wrong with names, files and voxels."""
    problems = list(raw.problems)
    stored: dict[RawScan, StoredVolume] = {}
    for scan in track(raw.scans, description="prepare", total=len(raw.scans), unit="volume"):
        try:
            with raw.open(scan) as (image, labels):
                stored[scan] = store_volume(out, volume_id=scan.id, image=image, labels=labels, organs=raw.organs)
            _tell_notes(raw, scan, image, labels)
            _tell_labelled(raw, scan, stored[scan])
        except FormatError as error:
            problems.append(f"{raw.source(error.path)}: {error.detail}")
        except RawDataError as error:
            problems += error.problems
    problems += [problem for scan, volume in stored.items() for problem in _label_problems(raw, scan, volume)]
    problems += _duplicates(raw, stored)
    if problems:
        raise RawDataError(raw.raw_dir, problems)
    organs = {scan.id: volume.organs for scan, volume in stored.items() if scan.labels is not None}
    validation = held_out(organs, share=share, seed=seed)
    return [
        Prepared(
            id=scan.id,
            experiment=scan.experiment,
            source=raw.source(scan.image),
            split="unlabelled" if scan.labels is None else "validation" if scan.id in validation else "train",
            stored=volume,
            origin=raw.origin(scan),
        )
        for scan, volume in stored.items()
    ]


def _tell_notes(raw: RawData, scan: RawScan, image: Volume, labels: Volume | None) -> None:
    """Logs what to know of how a scan's files were read, and of its axes if they are not at right angles."""
    for path, volume in ((scan.image, image), (scan.labels, labels)):
        if path is not None and volume is not None:
            for note in volume.notes:
                logger.warning("%s: %s", raw.source(path), note)
    if message := of_shear(image.frame):
        logger.warning("%s: %s", raw.source(scan.image), message)


def _tell_labelled(raw: RawData, scan: RawScan, volume: StoredVolume) -> None:
    """Logs how much of a scan was looked at, in a data set where that need not be all."""
    if scan.labels is not None and raw.organs.not_labelled:
        slices, voxels = volume.shape[0], math.prod(volume.shape)
        looked_at = f"{volume.labelled_slices} of {slices} slices, {volume.labelled_voxels} of {voxels} voxels"
        logger.info("%s: %s are labelled", raw.source(scan.labels), looked_at)


def _label_problems(raw: RawData, scan: RawScan, volume: StoredVolume) -> Iterator[str]:
    if scan.labels is None:
        return
    if volume.foreign_labels:
        yield (
            f"{raw.source(scan.labels)} holds {as_text(volume.foreign_labels)}; labels are whole numbers, 0 for "
            f"background and 1 to {len(raw.organs)} as organs.yaml names them{_hint(volume)}"
        )
    elif not volume.organs:
        known = " or 255, not_labelled" if raw.organs.not_labelled else ""
        yield f"{raw.source(scan.labels)} holds no organ: every voxel is 0{known}"


def _hint(volume: StoredVolume) -> str:
    named = NOT_LABELLED in volume.foreign_labels
    return (
        f"; {NOT_LABELLED} is where nobody has looked if it says `{NOT_LABELLED}: {NOT_LABELLED_NAME}`" if named else ""
    )


def _duplicates(raw: RawData, stored: Mapping[RawScan, StoredVolume]) -> Iterator[str]:
    """Scans of the same voxels. A copy among the unlabelled, or on both sides of the split, would make every figure
    of the evaluation too good."""
    same = defaultdict(list)
    for scan, volume in stored.items():
        same[volume.image_sha256].append(raw.source(scan.image))
    for sources in same.values():
        if len(sources) > 1:
            yield f"{' and '.join(sources)} hold the same voxels; keep one"


def _within_budget(volumes: list[Prepared], *, budget: int, seed: int) -> list[Prepared]:
    """The volumes with the training volumes beyond the label budget moved to the reserve; a budget of 0 keeps all."""
    organs = {volume.id: volume.stored.organs for volume in volumes if volume.split == "train"}
    beyond = frozenset(budget_order(organs, seed=seed)[budget:]) if budget else frozenset()
    return [replace(volume, split="reserve") if volume.id in beyond else volume for volume in volumes]


def _warn_of_gaps(volumes: Sequence[Prepared], organs: OrganMap) -> None:
    """Says which organs cannot be learnt, or not be measured, with the labels there are."""
    for split, what in (("train", "training volume: no network can learn it"), ("validation", "validation volume")):
        seen = frozenset[int]().union(*(volume.stored.organs for volume in volumes if volume.split == split))
        for organ in organs.organs:
            if organ.index not in seen:
                logger.warning("%s occurs in no %s", organ.name, what)


def _catalogue(section: Prepare, *, organs: OrganMap, volumes: Iterable[Prepared], out: Path) -> Catalogue:
    ordered = sorted(volumes, key=lambda volume: volume.id)
    rule = IntensityRule(section.lower_percentile, section.upper_percentile)
    reader = SliceReader(out, cache_megabytes=0)
    if section.calibrated:
        training = [volume.id for volume in ordered if volume.split == "train"]
        rule = replace(rule, fixed=organ_window(training, rule=rule, reader=reader))
    records = tuple(_record(volume, rule=rule, reader=reader) for volume in ordered)
    return Catalogue(
        organs=organs,
        intensity=rule,
        volumes=records,
        data_sha256=_data_sha256(records, organs),
        data_set=section.data_set or section.raw_dir.absolute().name,
    )


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
        origin=volume.origin,
    )


def _data_sha256(records: Iterable[VolumeRecord], organs: OrganMap) -> str:
    content = [organs.to_mapping(), [(record.id, record.split, record.sha256) for record in records]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def main() -> None:
    """Runs the stage in the repository root."""
    run_stage("prepare", _prepare)


def _prepare(params: Params, run: StageRun) -> Report:
    catalogue = prepare(params)
    run.tag("data_sha256", catalogue.data_sha256)
    return Report(figures={f"volumes_{split}": len(catalogue.split(split)) for split in SPLITS})


if __name__ == "__main__":
    run_command("prepare", main)
