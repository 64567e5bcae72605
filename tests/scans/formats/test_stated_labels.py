"""Names and colours of labels, read back from every format that Ricefish writes, from Slicer's layers and ITK-SNAP."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from scans.formats import FormatError, create_volume
from scans.formats.label_names import itk_snap_labels
from scans.formats.stated_labels import stated_organs
from scans.geometry import Frame, Spacing
from scans.organs import OrganMap

ORGANS = OrganMap.from_mapping({1: {"name": "left_eye", "colour": [230, 159, 0]}, 2: "heart"})
FRAME = Frame.from_lps(Spacing(0.3, 0.2, 0.1))


def written(path: Path, organs: OrganMap | None = ORGANS) -> Path:
    with create_volume(path, shape=(2, 3, 4), dtype=np.uint8, frame=FRAME, organs=organs) as writer:
        writer.write(np.full((2, 3, 4), 1, np.uint8))
    return path


@pytest.mark.parametrize(
    "suffix", [".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".tif", ".h5", ".ome.zarr", ".ome.zarr.zip"]
)
def test_what_is_written_is_read(tmp_path: Path, suffix: str) -> None:
    """The same organs in the same colours; and none where none were written."""
    assert stated_organs(written(tmp_path / f"fish{suffix}")) == ORGANS
    assert stated_organs(written(tmp_path / f"grey{suffix}", None)) is None


def test_a_description_beside_the_file_counts_before_what_is_in_it(tmp_path: Path) -> None:
    """NAME_labels.txt, as ITK-SNAP exports it, with names as people write them; the clear label is none."""
    path = written(tmp_path / "fish.nii.gz")
    (tmp_path / "fish_labels.txt").write_text(
        itk_snap_labels(ORGANS).replace("left_eye", "Left Eye").replace("heart", "Swim-Bladder"), encoding="utf-8"
    )
    found = stated_organs(path)
    assert found is not None
    assert found.names == ("left_eye", "swim_bladder")
    assert found.organs[0].colour == (230, 159, 0)


def test_values_between_those_that_are_named_are_numbered(tmp_path: Path) -> None:
    """1 and 4 are named: 2 and 3 are label_2 and label_3, so that no index moves."""
    path = written(tmp_path / "fish.mha", None)
    (tmp_path / "fish_labels.txt").write_text('1 255 0 0 1 1 1 "heart"\n4 0 255 0 1 1 1 "brain"\n')
    found = stated_organs(path)
    assert found is not None and found.names == ("heart", "label_2", "label_3", "brain")


def test_segments_of_several_layers_are_numbered_one_after_another(tmp_path: Path) -> None:
    """Slicer gives segments that may overlap the same value in layers of their own."""
    path = written(tmp_path / "fish.seg.nrrd")
    content = path.read_bytes().replace(b"Segment1_LabelValue:=2", b"Segment1_LabelValue:=1")
    path.write_bytes(content.replace(b"Segment1_Layer:=0", b"Segment1_Layer:=1"))
    found = stated_organs(path)
    assert found is not None and found.names == ("left_eye", "heart")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('1 1 1 1 1 1 1 "heart"\n2 1 1 1 1 1 1 "Heart"\n', "two organs are named heart"),
        ('300 1 1 1 1 1 1 "heart"\n', "names of labels for the values 300"),
        ("a letter", "names of labels for the values none"),
        ('1 1 1 999 1 1 1 "heart"\n', "each of red, green, blue must be 0 to 255"),
    ],
)
def test_names_that_cannot_be_used_are_refused(tmp_path: Path, text: str, message: str) -> None:
    """The message names the description, not the volume beside it."""
    path = written(tmp_path / "fish.nii")
    (tmp_path / "fish_labels.txt").write_text(text)
    with pytest.raises(FormatError, match=rf"fish_labels\.txt: .*{message}"):
        stated_organs(path)


def test_a_damaged_file_is_a_format_error(tmp_path: Path) -> None:
    """Whatever its library says of it; a folder that is no Zarr states nothing."""
    path = written(tmp_path / "fish.h5")
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(FormatError, match=r"fish\.h5"):
        stated_organs(path)
    folder = written(tmp_path / "fish.ome.zarr")
    (folder / "zarr.json").write_text("{")
    with pytest.raises(FormatError, match=r"fish\.ome\.zarr"):
        stated_organs(folder)
    shutil.rmtree(folder)
    folder.mkdir()
    assert stated_organs(folder) is None
