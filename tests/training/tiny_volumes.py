"""Prepared data sets of a few small volumes, written by hand, for the tests of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from scans.geometry import Frame, Spacing
from scans.intensity import IntensityRule, Window
from scans.organs import OrganMap
from training.data.prepared import Catalogue, Split, VolumeRecord, create_array
from training.data.pseudo_labels import KeptSlice, write_refined
from training.params import TrainStudent, TrainTeacher
from training.recipe import Augmentation, Sampling, Schedule

ORGANS = OrganMap.from_mapping({1: "left_eye", 2: "right_eye", 3: "heart"})
WINDOW = Window(100.0, 1100.0)


def write_volume(
    folder: Path, volume_id: str, image: NDArray[np.uint16], labels: NDArray[np.uint8] | None, *, split: Split
) -> VolumeRecord:
    z, y, x = image.shape
    group = zarr.create_group(folder / f"{volume_id}.zarr")
    create_array(group, "image", shape=(z, y, x), dtype=image.dtype)[:] = image
    if labels is not None:
        create_array(group, "labels", shape=(z, y, x), dtype=labels.dtype)[:] = labels
        counts = np.array([(slice_[..., np.newaxis] == range(ORGANS.classes)).sum(axis=(0, 1)) for slice_ in labels])
        group.create_array("slice_voxels", data=counts.astype(np.uint32))
    return VolumeRecord(
        id=volume_id,
        experiment="",
        split=split,
        shape=(z, y, x),
        affine=Frame.from_lps(Spacing(0.1, 0.1, 0.1)).affine,
        window=WINDOW,
        source="a test",
        sha256=volume_id,
    )


def write_catalogue(folder: Path, *records: VolumeRecord) -> Catalogue:
    catalogue = Catalogue(
        ORGANS, IntensityRule(0.0, 100.0), records, data_sha256="of the test's volumes", data_set="tiny"
    )
    catalogue.write(folder)
    return catalogue


def fish(seed: int, *, slices: int = 6, side: int = 40) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Two eyes in the first slices, a heart in the last; each organ has a grey value of its own, plus noise."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((slices, side, side), dtype=np.uint8)
    y, x = (int(value) for value in rng.integers(8, 14, size=2))
    labels[: slices // 2, y : y + 8, x : x + 6] = 1
    labels[: slices // 2, y : y + 8, x + 12 : x + 18] = 2
    labels[slices // 2 :, y + 6 : y + 16, x + 3 : x + 13] = 3
    grey = np.array([300, 900, 900, 600])[labels] + rng.normal(0, 30, labels.shape)
    return grey.astype(np.uint16), labels


def tiny_data_set(root: Path, *, labelled: int = 2, unlabelled: int = 1) -> Catalogue:
    """`root/data/prepared` with a few fish, and `root/data/pseudo_labels` and `root/data/refined`: every slice kept."""
    prepared, pseudo = root / "data" / "prepared", root / "data" / "pseudo_labels"
    prepared.mkdir(parents=True)
    records = [write_volume(prepared, f"train_{number}", *fish(number), split="train") for number in range(labelled)]
    kept: list[KeptSlice] = []
    for number in range(unlabelled):
        image, labels = fish(100 + number)
        record = write_volume(prepared, f"unlabelled_{number}", image, None, split="unlabelled")
        group = zarr.create_group(pseudo / f"{record.id}.zarr")
        create_array(group, "labels", shape=record.shape, dtype=labels.dtype)[:] = labels
        kept += [KeptSlice(record.id, z, 0.9) for z in range(record.shape[0])]
        records.append(record)
    write_refined(root / "data" / "refined", kept, volumes={})
    return write_catalogue(prepared, *records)


STILL = Augmentation(
    mirror_y=0.0,
    mirror_x=0.0,
    rotation_degrees=0.0,
    scale=0.0,
    contrast=0.0,
    brightness=0.0,
    noise=0.0,
    class_contrast=0.0,
    gamma=0.0,
    blur=0.0,
    low_resolution=0.0,
)
SAMPLING = Sampling(crop=32, organ_share=0.8, fewest_pixels=0, cache_megabytes=8)

TEACHER_SECTION = TrainTeacher(
    encoder="resnet18",
    encoder_depth=3,
    dice_weight=1.0,
    workers=0,
    schedule=Schedule(epochs=2, steps_per_epoch=30, batch_size=8, learning_rate=0.005, one_cycle=True, averaging=0.0),
    sampling=SAMPLING,
    augmentation=STILL,
)
"""Enough to learn the fish of `tiny_data_set`, in a few seconds."""

STUDENT_SECTION = TrainStudent(
    pseudo_labels=True,
    distillation=True,
    teacher_checkpoint=True,
    alpha=0.1,
    temperature=4.0,
    clean_view=False,
    labelled_share=0.5,
    last_labelled=0.0,
    consistency=0.0,
    balanced_experiments=False,
    dice_weight=0.0,
    workers=0,
    schedule=Schedule(epochs=1, steps_per_epoch=2, batch_size=4, learning_rate=0.001, one_cycle=False, averaging=0.0),
    sampling=SAMPLING,
    augmentation=STILL,
)
