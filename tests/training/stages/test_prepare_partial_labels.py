"""Stage prepare reads labels of which people made a part: 255 is where nobody has looked, if organs.yaml says so."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scans.intensity import Window
from tests.training.stages.test_prepare import FISH, REPOSITORY, grey, labels, params, put
from training.data.prepared import SliceReader
from training.data.raw import RawDataError
from training.stages.prepare import prepare

PARTLY = "1: heart\n2: liver\n255: {name: not_labelled}\n"


@pytest.fixture
def raw_dir(tmp_path: Path) -> Path:
    """Two labelled scans: the second slice of each, the liver's, was looked at, and a row of the third."""
    folder = tmp_path / "raw"
    for number, name in enumerate("ab", start=1):
        partly = labels(1, 2)
        partly[0], partly[3], partly[2, 1:] = 255, 255, 255
        partly[1, 0, 0] = 1
        put(folder / f"labelled/images/{name}.nii.gz", grey(number))
        put(folder / f"labelled/labels/{name}.nii.gz", partly)
    (folder / "organs.yaml").write_text(PARTLY)
    (folder / "unlabelled/images").mkdir(parents=True)
    return folder


def test_what_was_looked_at_is_stored_and_said(raw_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """255 stays in the labels and is no class of theirs; slices and voxels are told of each volume."""
    with caplog.at_level(logging.INFO):
        catalogue = prepare(params(raw_dir), tmp_path / "out")
    reader = SliceReader(tmp_path / "out", cache_megabytes=1)
    assert reader.slice_voxels("a").tolist() == [[0, 0, 0], [0, 1, 29], [6, 0, 0], [0, 0, 0]]
    assert (reader.labels("a", 0) == 255).all()
    assert catalogue.organs.names == ("heart", "liver")
    for name in "ab":
        assert f"labelled/labels/{name}.nii.gz: 2 of 4 slices, 36 of 120 voxels are labelled" in caplog.text


def test_what_was_not_looked_at_has_no_say_in_the_window(raw_dir: Path, tmp_path: Path) -> None:
    """Organs lie in the second slice, 100 in both scans; the third, 700, is background or was not looked at."""
    for number, name in enumerate("ab"):
        image = grey(9) - np.int16(number)
        image[1], image[2] = 100, 700
        image[1, 0, 0] = 300
        put(raw_dir / f"labelled/images/{name}.nii.gz", image)
    calibrated = params(raw_dir, calibrated=True, lower_percentile=0.0, upper_percentile=100.0)
    assert prepare(calibrated, tmp_path / "out").intensity.fixed == Window(50.0, 350.0)


def test_255_is_an_error_where_organs_yaml_does_not_name_it(raw_dir: Path, tmp_path: Path) -> None:
    """The message says what to write, if that is what it means; 254 is an error even so."""
    (raw_dir / "organs.yaml").write_text("1: heart\n2: liver\n")
    with pytest.raises(RawDataError, match=r"a\.nii\.gz holds 255; .*if it says `255: not_labelled`"):
        prepare(params(raw_dir), tmp_path / "out")
    (raw_dir / "organs.yaml").write_text(PARTLY)
    put(raw_dir / "labelled/labels/a.nii.gz", labels(1, 254))
    with pytest.raises(
        RawDataError, match=r"a\.nii\.gz holds 254; labels are whole numbers, 0 for background and 1 to 2"
    ):
        prepare(params(raw_dir), tmp_path / "out")


def test_labels_in_which_nobody_has_found_an_organ_are_refused(raw_dir: Path, tmp_path: Path) -> None:
    """Such as those that were only laid out."""
    put(raw_dir / "labelled/labels/a.nii.gz", np.full((4, 5, 6), 255, dtype=np.uint8))
    with pytest.raises(RawDataError, match=r"a\.nii\.gz holds no organ: every voxel is 0 or 255, not_labelled"):
        prepare(params(raw_dir), tmp_path / "out")


def test_of_synthetic_fish_one_slice_in_so_many_may_be_labelled(tmp_path: Path) -> None:
    """One in five of 16: slices 2, 7 and 12 of the fish to train on; those to validate on are labelled throughout."""
    fish = replace(FISH, labelled=1, unlabelled=0, validation=1, label_every=5)
    prepare(params(REPOSITORY / "data/phantom", phantoms=fish), tmp_path / "out")
    reader = SliceReader(tmp_path / "out", cache_megabytes=1)
    assert np.flatnonzero(reader.slice_voxels("train_000").any(axis=1)).tolist() == [2, 7, 12]
    assert reader.slice_voxels("validation_000").any(axis=1).all()
