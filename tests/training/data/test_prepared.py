"""The prepared data set: the catalogue, and slices read in any order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from scans.geometry import Frame, Spacing
from scans.intensity import IntensityRule, Window
from scans.organs import OrganMap
from training.data.prepared import Catalogue, SliceReader, VolumeRecord, create_array, shard_slices

RECORD = VolumeRecord(
    id="fish",
    experiment="beamtime_1",
    split="train",
    shape=(3, 2, 2),
    affine=Frame.from_lps(Spacing(z=3.0, y=2.0, x=1.0)).affine,
    window=Window(0.0, 10.0),
    source="labelled/images/fish.nii.gz",
    sha256="00",
)


def stored(folder: Path) -> SliceReader:
    """fish.zarr: voxel values 0 to 11 as grey values, and the same halved as labels."""
    group = zarr.create_group(folder / "fish.zarr")
    grey = np.arange(12, dtype=np.uint16).reshape(3, 2, 2)
    create_array(group, "image", shape=(3, 2, 2), dtype=grey.dtype)[:] = grey
    create_array(group, "labels", shape=(3, 2, 2), dtype=np.dtype(np.uint8))[:] = (grey // 6).astype(np.uint8)
    group.create_array("slice_voxels", data=np.array([[4, 0], [2, 2], [0, 4]], dtype=np.uint32))
    return SliceReader(folder, cache_megabytes=1)


def test_a_catalogue_reads_back_as_it_was_written(tmp_path: Path):
    """Organs, rule, records, frames and hash survive volumes.json, with a fixed window and without."""
    for fixed in (None, Window(-5.0, 5.5)):
        catalogue = Catalogue(
            organs=OrganMap.from_mapping({1: "heart", 2: "left_eye"}),
            intensity=IntensityRule(0.5, 99.5, fixed),
            volumes=(RECORD, replace(RECORD, id="other", split="unlabelled")),
            data_sha256="ff",
            data_set="medaka",
        )
        catalogue.write(tmp_path)
        assert Catalogue.read(tmp_path) == catalogue


def test_a_catalogue_tells_the_volumes_of_a_split():
    """In order of id, and only an unlabelled volume has no labels."""
    splits = {"a": "train", "b": "unlabelled", "c": "train", "d": "validation", "e": "reserve"}
    records = tuple(replace(RECORD, id=name, split=split) for name, split in splits.items())
    catalogue = Catalogue(OrganMap.from_mapping({1: "heart"}), IntensityRule(0.0, 100.0), records, "")
    assert [record.id for record in catalogue.split("train")] == ["a", "c"]
    assert [record.id for record in records if not record.labelled] == ["b"]
    assert catalogue.volumes[0].spacing == Spacing(z=3.0, y=2.0, x=1.0)


def test_slices_are_read_in_any_order(tmp_path: Path):
    """Slice 2 before slice 0, of image and labels."""
    reader = stored(tmp_path)
    assert reader.image("fish", 2).tolist() == [[8, 9], [10, 11]]
    assert reader.image("fish", 0).tolist() == [[0, 1], [2, 3]]
    assert reader.labels("fish", 1).tolist() == [[0, 0], [1, 1]]
    assert reader.slice_voxels("fish").tolist() == [[4, 0], [2, 2], [0, 4]]


def test_a_slice_cannot_be_changed_by_who_reads_it(tmp_path: Path):
    """What is kept for the next reader is write-protected."""
    with pytest.raises(ValueError, match="read-only"):
        stored(tmp_path).image("fish", 0)[0, 0] = 7


def test_a_slice_is_decoded_once_while_the_cache_holds_it(tmp_path: Path):
    """With a cache the second reading gives the same array; without one a new array of the same values."""
    reader = stored(tmp_path)
    assert reader.image("fish", 1) is reader.image("fish", 1)
    uncached = SliceReader(tmp_path, cache_megabytes=0)
    first = uncached.image("fish", 1)
    uncached.image("fish", 2)
    assert uncached.image("fish", 1) is not first
    assert np.array_equal(uncached.image("fish", 1), first)


def test_volumes_are_lazy_and_keep_their_frame(tmp_path: Path):
    """Image and labels as volumes, slab by slab."""
    reader = stored(tmp_path)
    assert reader.volume(RECORD).slab(1, 2).tolist() == [[[4, 5], [6, 7]]]
    assert reader.label_volume(RECORD).slab(2, 3).tolist() == [[[1, 1], [1, 1]]]
    assert reader.volume(RECORD).frame == RECORD.frame


@pytest.mark.parametrize(
    ("shape", "dtype", "slices"),
    [
        ((3, 2, 2), np.uint8, 3),
        ((3000, 1000, 1000), np.uint16, 64),  # 64 slices are 128 MB
        ((3000, 2000, 2000), np.uint16, 32),  # 8 MB a slice
        ((3000, 2000, 2000), np.float32, 16),  # 16 MB a slice
        ((10, 20000, 20000), np.float32, 1),  # 1.6 GB a slice: one at a time all the same
    ],
)
def test_a_shard_holds_as_many_slices_as_fit_into_memory(shape, dtype, slices):
    """64 slices, or a power of two that stays under 256 MB."""
    assert shard_slices(shape, np.dtype(dtype)) == slices


def test_an_array_is_few_files_of_chunks_that_are_pieces_of_slices(tmp_path: Path):
    """130 slices of 300 x 20 lie in three shards, each chunk within one slice."""
    array = create_array(zarr.create_group(tmp_path / "a.zarr"), "image", shape=(130, 300, 20), dtype=np.dtype("u1"))
    array[:] = 1
    assert array.chunks == (1, 256, 20)
    assert array.shards == (64, 512, 20)
    assert len([path for path in (tmp_path / "a.zarr" / "image" / "c").rglob("*") if path.is_file()]) == 3
