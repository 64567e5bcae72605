"""Which slices pools hold, how much each gives, and what they refuse."""

from dataclasses import replace
from pathlib import Path

import pytest
from patch_batches import batches_of, patches_of

from tests.training.tiny_volumes import ORGANS, tiny_data_set
from training.data.pseudo_labels import KeptSlice, read_refined
from training.learning.pools import labelled_pool, refined_pool, shares_of


def test_pools_in_proportion_show_every_slice_as_often(tmp_path: Path) -> None:
    """Two labelled fish of six slices and one refined one: two thirds and one third."""
    catalogue = tiny_data_set(tmp_path)
    batches = batches_of(tmp_path)
    kept = read_refined(tmp_path / "data" / "refined")
    labels = patches_of(tmp_path / "data" / "pseudo_labels")
    refined = refined_pool(catalogue.split("unlabelled"), kept, ORGANS, images=batches.pools[0].images, labels=labels)
    assert shares_of((batches.pools[0], refined), labelled_share=0.0) == pytest.approx((2 / 3, 1 / 3))
    assert replace(batches, pools=(batches.pools[0], refined), shares=(0.5, 0.5)).slices == 18
    assert replace(batches, pools=(batches.pools[0], refined), shares=(1.0, 0.0)).slices == 12


def test_experiments_give_as_much_however_many_slices_they_have(tmp_path: Path) -> None:
    """Half of the patches are of labelled slices; of the rest each of two pools has half, one of them of one slice."""
    catalogue = tiny_data_set(tmp_path, unlabelled=2)
    batches = batches_of(tmp_path)
    labels = patches_of(tmp_path / "data" / "pseudo_labels")
    many, one = (
        refined_pool(catalogue.split("unlabelled"), kept, ORGANS, images=batches.pools[0].images, labels=labels)
        for kept in (read_refined(tmp_path / "data" / "refined")[:5], (KeptSlice("unlabelled_1", 5, 0.9),))
    )
    assert shares_of((batches.pools[0], many, one), labelled_share=0.5) == pytest.approx((0.5, 0.25, 0.25))
    assert shares_of((batches.pools[0],), labelled_share=0.5) == (1.0,)


def test_patches_are_centred_where_enough_of_the_organ_is_seen(tmp_path: Path) -> None:
    """The eyes have 48 pixels in a slice and the heart 100: with 49 wanted no slice is centred on an eye."""
    catalogue = tiny_data_set(tmp_path)
    reader = patches_of(tmp_path / "data" / "prepared")
    labels = patches_of(tmp_path / "data" / "pseudo_labels")
    kept = read_refined(tmp_path / "data" / "refined")
    volumes = catalogue.split("unlabelled")

    def holding(fewest_pixels: int) -> list[list[int]]:
        train = labelled_pool(catalogue.split("train"), ORGANS, reader=reader, fewest_pixels=fewest_pixels)
        refined = refined_pool(volumes, kept, ORGANS, images=reader, labels=labels, fewest_pixels=fewest_pixels)
        return [[len(rows) for rows in pool.holding] for pool in (train, refined)]

    assert holding(0) == holding(48) == [[6, 6, 6], [3, 3, 3]]
    assert holding(49) == holding(100) == [[0, 0, 6], [0, 0, 3]]


def test_a_kept_slice_of_an_unknown_volume_is_refused_by_name(tmp_path: Path) -> None:
    """Pseudo-labels of another preparation of the data."""
    catalogue = tiny_data_set(tmp_path)
    reader = patches_of(tmp_path)
    with pytest.raises(ValueError, match="name volume gone, which is not among the unlabelled ones"):
        refined_pool(catalogue.split("unlabelled"), (KeptSlice("gone", 0, 1.0),), ORGANS, images=reader, labels=reader)


def test_no_labelled_volume_is_an_error_that_says_so(tmp_path: Path) -> None:
    """Rather than a training that never starts."""
    with pytest.raises(ValueError, match="there is no labelled volume to learn from"):
        labelled_pool((), ORGANS, reader=patches_of(tmp_path))
