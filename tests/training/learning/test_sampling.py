"""Batches depend on stage, seed and step alone, show what was asked for, and read no more than single slices."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from patch_batches import batches_of, patches_of, shown

from scans.organs import NOT_LABELLED
from tests.training.tiny_volumes import ORGANS, STILL, WINDOW, fish, tiny_data_set, write_catalogue, write_volume
from training.data.pseudo_labels import KeptSlice
from training.learning.pools import refined_pool
from training.learning.sampling import Batch, PatchBatches

ALL = replace(
    STILL, mirror_y=0.5, mirror_x=0.5, rotation_degrees=20, scale=0.2, contrast=0.2, brightness=0.1, noise=0.05
)


@pytest.fixture
def batches(tmp_path: Path) -> PatchBatches:
    tiny_data_set(tmp_path)
    return batches_of(tmp_path)


def same(a: Batch, b: Batch) -> bool:
    return torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)


def every_second(batch: Batch, *, first: int = 0) -> Batch:
    return Batch(*(tensor[first::2] for tensor in batch))


def test_a_step_has_one_batch_whatever_was_drawn_before(batches: PatchBatches, tmp_path: Path) -> None:
    """Step 7 after steps 0 to 6 and step 7 of a sampler that starts there, in another process: the same."""
    augmented = replace(batches, augmentation=ALL)
    elsewhere = pickle.loads(pickle.dumps(augmented))  # noqa: S301 - how a worker process gets it
    in_order = [shown(augmented, step) for step in range(8)]
    assert same(in_order[7], shown(elsewhere, 7))
    assert not same(in_order[7], in_order[6])
    assert not same(in_order[7], shown(replace(augmented, seed=2), 7))


@pytest.mark.parametrize("stage", ["train_student", "train_control", "label_quality_fold_1"])
def test_another_stage_with_the_same_seed_draws_other_patches(batches: PatchBatches, stage: str) -> None:
    """No patch of its steps is one of the first stage's, and two processes share the same patches as one draws."""
    first, other = replace(batches, augmentation=ALL), replace(batches, augmentation=ALL, stage=stage)
    drawn = {patch.numpy().tobytes() for step in range(3) for patch in shown(first, step).images}
    assert not any(patch.numpy().tobytes() in drawn for step in range(3) for patch in shown(other, step).images)
    assert same(shown(other, 2), shown(pickle.loads(pickle.dumps(other)), 2))  # noqa: S301 - how a worker process gets it
    second = shown(replace(other, rank=1, world_size=2), 2)
    assert same(second, every_second(shown(other, 2), first=1))


def test_processes_that_train_together_share_the_batch_of_one(batches: PatchBatches) -> None:
    """Two processes draw patches 0, 2 and 1, 3 of the batch that a single one draws."""
    whole, first, second = (
        shown(batches, 3),
        shown(replace(batches, world_size=2), 3),
        shown(replace(batches, rank=1, world_size=2), 3),
    )
    assert same(first, every_second(whole))
    assert same(second, every_second(whole, first=1))


def test_a_batch_that_cannot_be_shared_evenly_is_refused(batches: PatchBatches) -> None:
    """Four patches for three processes."""
    with pytest.raises(ValueError, match="batch_size 4 cannot be shared evenly by 3 processes"):
        replace(batches, world_size=3)


def test_patches_are_normalised_and_of_the_size_asked_for(batches: PatchBatches) -> None:
    """float32 (N, 1, S, S) from 0 to 1 and uint8 (N, S, S)."""
    images, labels, unchanged, _ = shown(batches, 0)
    assert (images.dtype, images.shape) == (torch.float32, (4, 1, 16, 16))
    assert (labels.dtype, labels.shape) == (torch.uint8, (4, 16, 16))
    assert 0 <= images.min() <= images.max() <= 1 and unchanged.numel() == 0


def test_patches_come_as_they_were_where_they_are_asked_for(batches: PatchBatches) -> None:
    """Turned and mirrored as the others are, and in the grey values of the slices."""
    asked = shown(replace(batches, augmentation=ALL, unchanged_too=True), 2)
    still = replace(ALL, contrast=0.0, brightness=0.0, noise=0.0)
    assert same(asked, shown(replace(batches, augmentation=ALL), 2))
    assert not torch.allclose(asked.images, asked.unchanged, atol=0.01)
    assert torch.allclose(asked.unchanged, shown(replace(batches, augmentation=still), 2).images, atol=1e-6)


def test_planes_across_x_are_neither_mirrored_along_it_nor_coloured_by_their_labels(batches: PatchBatches) -> None:
    """With mirror images along x alone, and contrast by class, patches across x are as they lie there; slices not."""
    (pool,) = batches.pools
    changed = replace(STILL, mirror_x=1.0, class_contrast=0.5)
    still, across_x = (
        shown(batches, 1),
        shown(replace(batches, pools=(replace(pool, axis=2),), augmentation=changed), 1),
    )
    assert torch.allclose(across_x.images, still.images, atol=1e-6)
    assert torch.equal(across_x.labels, still.labels)
    assert not torch.equal(shown(replace(batches, augmentation=changed), 1).labels, still.labels)


def test_image_and_labels_of_a_patch_are_of_the_same_place(tmp_path: Path) -> None:
    """Where grey values equal 100 + 1000 * class / 4, normalised ones are class / 4, however patches are turned."""
    labels = fish(1)[1]
    prepared = tmp_path / "data" / "prepared"
    prepared.mkdir(parents=True)
    image = (100 + 250 * labels.astype(int)).astype(np.uint16)
    write_catalogue(prepared, write_volume(prepared, "only", image, labels, split="train"))
    turned = replace(batches_of(tmp_path), augmentation=replace(STILL, rotation_degrees=90.0))
    for step in range(5):
        images, patch_labels, *_ = shown(turned, step)
        exact = torch.isclose(images[:, 0] * 4, (images[:, 0] * 4).round(), atol=1e-3)
        assert exact.float().mean() > 0.7  # the rest are borders, where grey values are interpolated
        agree = (images[:, 0] * 4).round()[exact] == patch_labels[exact]
        assert agree.float().mean() > 0.97


def test_organs_are_drawn_evenly_however_rare_they_are(tmp_path: Path) -> None:
    """One slice of twelve holds a heart of a single pixel; a third of the patches show it all the same."""
    labels = np.zeros((12, 40, 40), dtype=np.uint8)
    labels[:, :12, :12], labels[:, :12, 28:] = 1, 2
    labels[5, 30, 20] = 3
    prepared = tmp_path / "data" / "prepared"
    prepared.mkdir(parents=True)
    image = np.full(labels.shape, 500, dtype=np.uint16)
    write_catalogue(prepared, write_volume(prepared, "only", image, labels, split="train"))
    batches = replace(batches_of(tmp_path, organ_share=1.0, crop=8), batch_size=60)
    held = np.array([np.isin(range(4), patch.unique()) for step in range(5) for patch in shown(batches, step).labels])
    assert held[:, 1:].any(axis=1).all()
    assert np.allclose(held[:, 1:].mean(axis=0), 1 / 3, atol=0.08)


def test_without_an_organ_share_patches_fall_anywhere(tmp_path: Path) -> None:
    """A heart of one pixel in one of twelve slices is hardly ever met, and every slice is."""
    labels = np.zeros((12, 40, 40), dtype=np.uint8)
    labels[5, 30, 20] = 3
    image = np.repeat(np.arange(12, dtype=np.uint16) * 50 + 200, 1600).reshape(12, 40, 40)
    prepared = tmp_path / "data" / "prepared"
    prepared.mkdir(parents=True)
    write_catalogue(prepared, write_volume(prepared, "only", image, labels, split="train"))
    images, patches, *_ = shown(replace(batches_of(tmp_path, organ_share=0.0, crop=8), batch_size=300), 0)
    assert (patches == 3).flatten(1).any(dim=1).float().mean() < 0.05
    assert len(images[:, 0, 0, 0].unique()) == 12


def test_slices_that_nobody_has_looked_at_are_never_drawn(tmp_path: Path) -> None:
    """Every third of nine slices is labelled, one as background alone; epochs count three slices, and patches show no
    other, anywhere as well as around organs. Of a slice that is labelled in part, the rest stays 255."""
    labels = np.full((9, 40, 40), NOT_LABELLED, dtype=np.uint8)
    labels[0], labels[3], labels[6, :20] = 0, 0, 0
    labels[3, 10:20, 10:20] = 3
    image = np.repeat(np.arange(9, dtype=np.uint16) * 100 + 150, 1600).reshape(9, 40, 40)
    prepared = tmp_path / "data" / "prepared"
    prepared.mkdir(parents=True)
    write_catalogue(prepared, write_volume(prepared, "only", image, labels, split="train"))
    batches = replace(batches_of(tmp_path, organ_share=0.5), batch_size=60, augmentation=replace(STILL, mirror_x=1.0))
    assert batches.slices == 3
    assert [rows.tolist() for rows in batches.pools[0].holding] == [[], [], [1]]
    images, patches, *_ = shown(batches, 0)
    drawn = (images[:, 0, 0, 0] * 1000).round().int() // 100
    assert set(drawn.tolist()) == {0, 3, 6}
    assert {int(value) for value in patches.unique()} == {0, 3, NOT_LABELLED}
    assert not (patches[drawn != 6] == NOT_LABELLED).any()
    assert (drawn == 3).float().mean() > 0.5


def test_a_patch_larger_than_the_slice_is_padded(tmp_path: Path) -> None:
    """A crop of 64 of a slice of 40: all 1600 of its pixels are there, the rest is background and 0."""
    prepared = tmp_path / "data" / "prepared"
    prepared.mkdir(parents=True)
    image = np.full((2, 40, 40), int(WINDOW.upper), dtype=np.uint16)
    labels = np.ones(image.shape, dtype=np.uint8)
    write_catalogue(prepared, write_volume(prepared, "only", image, labels, split="train"))
    for organ_share in (0.0, 1.0):
        images, patches, *_ = shown(batches_of(tmp_path, crop=64, organ_share=organ_share), 0)
        assert (images > 0).sum(dim=(1, 2, 3)).tolist() == [1600] * 4
        assert torch.equal(patches == 1, images[:, 0] == 1)


def test_slices_are_forgotten_beyond_the_cache(tmp_path: Path) -> None:
    """A reader with no room keeps one slice; its batches are those of a reader that keeps all."""
    tiny_data_set(tmp_path)
    assert same(shown(batches_of(tmp_path, megabytes=0), 4), shown(batches_of(tmp_path), 4))


def test_refined_slices_come_with_their_pseudo_labels_in_the_share_asked_for(tmp_path: Path) -> None:
    """Kept slices alone are shown, one of one volume, in a quarter of the patches; in none where labels come last."""
    catalogue = tiny_data_set(tmp_path)
    batches = batches_of(tmp_path)
    images = patches_of(tmp_path / "data" / "prepared")
    labels = patches_of(tmp_path / "data" / "pseudo_labels")
    kept = (KeptSlice("unlabelled_0", 4, 0.9),)
    refined = refined_pool(catalogue.split("unlabelled"), kept, ORGANS, images=images, labels=labels)
    mixed = replace(batches, pools=(*batches.pools, refined), shares=(0.75, 0.25), batch_size=200)
    assert [len(rows) for rows in refined.holding] == [0, 0, 1]  # slice 4 holds the heart alone
    alone = replace(mixed, pools=(refined,), shares=(1.0,), batch_size=20)
    true_image, true_labels = fish(100)
    positions = {grey_values(patch) for patch in windows(WINDOW.normalise(true_image[4]), 16)}
    label_positions = {patch.tobytes() for patch in windows(true_labels[4], 16)}
    batch = shown(alone, 0)
    assert all(grey_values(patch[0].numpy()) in positions for patch in batch.images)
    assert all(patch.numpy().tobytes() in label_positions for patch in batch.labels)
    of_refined = [grey_values(patch[0].numpy()) in positions for patch in shown(mixed, 0).images]
    assert 0.15 <= np.mean(of_refined) <= 0.35
    ending = replace(mixed, labelled_only_from=3)
    assert same(shown(ending, 2), shown(mixed, 2))
    assert not any(grey_values(patch[0].numpy()) in positions for patch in shown(ending, 3).images)


def test_pseudo_labels_are_not_seen_in_the_grey_values(tmp_path: Path) -> None:
    """With contrast by class alone the patches of a pseudo-labelled slice are as they were, those of a labelled not."""
    catalogue = tiny_data_set(tmp_path)
    batches = replace(batches_of(tmp_path), augmentation=replace(STILL, class_contrast=0.5))
    labels = patches_of(tmp_path / "data" / "pseudo_labels")
    kept = (KeptSlice("unlabelled_0", 4, 0.9),)
    volumes = catalogue.split("unlabelled")
    refined = refined_pool(volumes, kept, ORGANS, images=batches.pools[0].images, labels=labels)
    positions = {grey_values(patch) for patch in windows(WINDOW.normalise(fish(100)[0][4]), 16)}
    assert all(
        grey_values(patch[0].numpy()) in positions for patch in shown(replace(batches, pools=(refined,)), 0).images
    )
    as_they_were = shown(replace(batches, augmentation=STILL), 0).images
    assert not any(torch.equal(*pair) for pair in zip(shown(batches, 0).images, as_they_were, strict=True))


def grey_values(patch: np.ndarray) -> bytes:
    """Raw ones: the window of these tests is 1000 wide."""
    return np.rint(patch * 1000).astype(np.int16).tobytes()


def windows(slice_: np.ndarray, side: int) -> list[np.ndarray]:
    views = np.lib.stride_tricks.sliding_window_view(slice_, (side, side))
    return [np.ascontiguousarray(view) for row in views for view in row]
