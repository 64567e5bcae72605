"""Names and colours of labels as programs find them in what Ricefish writes."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name
import tifffile
from PIL import Image

from scans.formats import create_volume, open_volume
from scans.formats.label_names import itk_snap_labels
from scans.geometry import Frame, Spacing
from scans.organs import OrganMap

FRAME = Frame.from_lps(Spacing(0.3, 0.2, 0.1), origin=(1, 2, 3))
ORGANS = OrganMap.from_mapping(
    {1: {"name": "heart <left> & right", "colour": [255, 0, 51]}, 2: {"name": "Größe", "colour": [0, 128, 255]}}
)
LABELS = np.random.default_rng(0).integers(0, 3, (4, 5, 7)).astype(np.uint8)


def write(path: Path, array: np.ndarray = LABELS, organs: OrganMap | None = ORGANS) -> Path:
    with create_volume(path, shape=array.shape, dtype=array.dtype, frame=FRAME, organs=organs) as writer:  # type: ignore[arg-type]
        writer.write(array)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_nifti_has_the_table_of_labels_of_connectome_workbench(tmp_path: Path, name: str) -> None:
    """In an extension of its code, beside voxels and place that nibabel, ITK and Ricefish read as ever."""
    path = write(tmp_path / name)
    image = nib.load(path)
    (extension,) = image.header.extensions
    assert extension.get_code() == 30
    root = ElementTree.fromstring(extension.content.rstrip(b"\0"))  # noqa: S314 - what was written above
    found = {int(label.attrib["Key"]): label for label in root.iter("Label")}
    assert {key: label.text for key, label in found.items()} == {0: "background", 1: "heart <left> & right", 2: "Größe"}
    assert [found[1].attrib[part] for part in ("Red", "Green", "Blue", "Alpha")] == ["1", "0", "0.2", "1"]
    assert found[0].attrib["Alpha"] == "0"
    assert image.header.get_intent()[0] == "label"
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, LABELS)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), LABELS)
    with open_volume(path) as volume:
        np.testing.assert_array_equal(volume.read(), LABELS)


def test_scans_have_no_names(tmp_path: Path) -> None:
    """Grey values are no labels: no extension, no palette."""
    assert len(nib.load(write(tmp_path / "a.nii", organs=None)).header.extensions) == 0
    with tifffile.TiffFile(write(tmp_path / "a.tif", organs=None)) as tiff:
        assert "ColorMap" not in tiff.pages.first.tags
        assert "max" not in tiff.imagej_metadata


def test_itk_snap_has_a_description_of_the_labels() -> None:
    """A line for each label: index, red, green, blue, opacity, two switches and the name in quotes."""
    lines = [line for line in itk_snap_labels(ORGANS).splitlines() if not line.startswith("#")]
    fields = [
        re.fullmatch(r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([\d.]+)\s+(\d)\s+(\d)\s+"(.*)"', line) for line in lines
    ]
    assert [field.groups() for field in fields if field] == [
        ("0", "0", "0", "0", "0", "0", "0", "Clear Label"),
        ("1", "255", "0", "51", "1", "1", "1", "heart <left> & right"),
        ("2", "0", "128", "255", "1", "1", "1", "Größe"),
    ]


def test_a_tiff_of_labels_has_a_palette_on_each_page_and_a_display_range(tmp_path: Path) -> None:
    """Fiji takes the palette of pages that all have one, and the range in which each value has its own colour."""
    path = write(tmp_path / "a.tif")
    with tifffile.TiffFile(path) as tiff:
        assert (tiff.imagej_metadata["min"], tiff.imagej_metadata["max"]) == (0.0, 255.0)
        for page in tiff.pages:
            palette = page.tags["ColorMap"].value
            np.testing.assert_array_equal(np.array(palette)[:, :3] // 257, ORGANS.palette.T)
            assert not np.array(palette)[:, 3:].any()
        np.testing.assert_array_equal(tiff.asarray(), LABELS)


def test_a_tiff_of_labels_holds_labels_to_all_programs(tmp_path: Path) -> None:
    """ITK, which makes colours of pictures with photometric 3, and Pillow see class indices; so does Ricefish."""
    path = write(tmp_path / "a.tif")
    image = sitk.ReadImage(str(path))
    assert image.GetNumberOfComponentsPerPixel() == 1
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), LABELS)
    with Image.open(path) as picture:
        picture.seek(2)
        np.testing.assert_array_equal(np.asarray(picture), LABELS[2])
    with open_volume(path) as volume:
        np.testing.assert_array_equal(volume.read(), LABELS)
        assert volume.frame == FRAME


def test_labels_of_more_than_a_byte_have_no_palette(tmp_path: Path) -> None:
    """A palette has 256 colours."""
    with tifffile.TiffFile(write(tmp_path / "a.tif", LABELS.astype(np.uint16))) as tiff:
        assert "ColorMap" not in tiff.pages.first.tags
