"""Segmentations of 3D Slicer: cropped, in layers, with names."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from scans.formats import FormatError
from tests.training.data.labelled_scan import LABELS, OBLIQUE, ORIENTATIONS, data_set, read
from training.data.raw import RawDataError

Segment = Mapping[str, object]
EYES_AND_BRAIN = ({"Name": "left_eye"}, {"Name": "right_eye"}, {"Name": "brain"})


def save_segments(
    path: Path,
    voxels: NDArray[np.uint8],
    segments: Sequence[Segment],
    *,
    affine: NDArray[np.float64] = OBLIQUE,
    space: str = "left-posterior-superior",
) -> None:
    """As 3D Slicer does: `voxels` x, y, z or layer, x, y, z; label values count upwards unless they are given."""
    signs = (-1, -1, 1) if space.startswith("left") else (1, 1, 1)
    columns = [
        ",".join(repr(sign * float(value)) for sign, value in zip(signs, affine[:3, c], strict=True)) for c in range(4)
    ]
    listed = voxels.ndim == 4
    lines = [
        "NRRD0004",
        "type: uint8",
        f"dimension: {voxels.ndim}",
        f"space: {space}",
        f"sizes: {' '.join(map(str, voxels.shape))}",
        "space directions: " + "none " * listed + " ".join(f"({column})" for column in columns[:3]),
        "kinds: " + "list " * listed + "domain domain domain",
        "encoding: gzip",
        f"space origin: ({columns[3]})",
    ]
    for number, segment in enumerate(segments):
        fields = {"ID": f"Segment_{number + 1}", "LabelValue": number + 1, "Layer": 0, **segment}
        lines += [f"Segment{number}_{key}:={value}" for key, value in fields.items()]
    lines += ["Segmentation_ReferenceImageExtentOffset:=0 0 0", "", ""]
    path.write_bytes("\n".join(lines).encode() + gzip.compress(voxels.tobytes(order="F")))


@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior"])
def test_cropped_segments_are_placed_in_their_image(tmp_path: Path, space: str) -> None:
    """Slicer saves the part that has segments; around it is background."""
    box = (slice(1, 4), slice(2, 5), slice(1, 3))
    affine = OBLIQUE.copy()
    affine[:3, 3] = (OBLIQUE @ (1, 2, 1, 1))[:3]
    save_segments(data_set(tmp_path) / "a.seg.nrrd", LABELS[box], EYES_AND_BRAIN, affine=affine, space=space)
    expected = np.zeros_like(LABELS)
    expected[box] = LABELS[box]
    np.testing.assert_array_equal(read(tmp_path, depth=1), expected)
    np.testing.assert_array_equal(read(tmp_path, depth=4), expected)


def test_cropped_and_turned_segments_are_placed(tmp_path: Path) -> None:
    """Both at once, with slices of the segmentation across those of the image."""
    cropped = nib.Nifti1Image(LABELS, OBLIQUE).slicer[2:5, 1:4, 1:3].as_reoriented(ORIENTATIONS[-1])
    voxels = np.asarray(cropped.dataobj)
    save_segments(data_set(tmp_path) / "a.seg.nrrd", voxels, EYES_AND_BRAIN, affine=cropped.affine)
    expected = np.zeros_like(LABELS)
    expected[2:5, 1:4, 1:3] = LABELS[2:5, 1:4, 1:3]
    np.testing.assert_array_equal(read(tmp_path), expected)


@pytest.mark.parametrize("turned", [False, True])
def test_segments_may_reach_beyond_their_image_where_they_are_empty(tmp_path: Path, *, turned: bool) -> None:
    """The extent of a segmentation may be that of another volume; what is labelled outside of the image is counted."""
    around = np.zeros((8, 9, 7), np.uint8)
    around[1:7, 3:8, 2:6] = LABELS
    affine = OBLIQUE.copy()
    affine[:3, 3] = (OBLIQUE @ (-1, -3, -2, 1))[:3]
    stored = nib.Nifti1Image(around, affine)
    stored = stored.as_reoriented(ORIENTATIONS[-1]) if turned else stored
    path = data_set(tmp_path) / "a.seg.nrrd"
    save_segments(path, np.asarray(stored.dataobj), EYES_AND_BRAIN, affine=stored.affine)
    np.testing.assert_array_equal(read(tmp_path), LABELS)
    voxels = np.asarray(stored.dataobj).copy()
    voxels[0, 0, 0] = voxels[0, 0, 1] = 2
    save_segments(path, voxels, EYES_AND_BRAIN, affine=stored.affine)
    with pytest.raises(RawDataError, match="holds 2 labelled voxels beyond its image of 4 x 5 x 6 voxels"):
        read(tmp_path)


def layers(*, overlap: bool = False) -> NDArray[np.uint8]:
    """Eyes in the first layer, as 1 and 2; the brain in the second, as 1."""
    eyes = np.where(LABELS < 3, LABELS, 1 if overlap else 0)
    return np.stack([eyes, (LABELS == 3).astype(np.uint8)])


IN_LAYERS = (
    {"Name": "right_eye", "LabelValue": 2},
    {"Name": "left_eye", "LabelValue": 1},
    {"Name": "brain", "LabelValue": 1, "Layer": 1},
)


def test_layers_are_merged_by_names(tmp_path: Path) -> None:
    """Each layer counts from 1, so that numbers say nothing and names say all, in whichever order they stand."""
    save_segments(data_set(tmp_path) / "a.seg.nrrd", layers(), IN_LAYERS)
    np.testing.assert_array_equal(read(tmp_path), LABELS)


def test_layers_whose_number_is_stated_wrongly_are_merged_by_values(tmp_path: Path) -> None:
    """All segments are said to be in layer 0, but each value is one segment's alone."""
    voxels = np.stack([np.zeros_like(LABELS), LABELS])
    save_segments(data_set(tmp_path) / "a.seg.nrrd", voxels, EYES_AND_BRAIN)
    np.testing.assert_array_equal(read(tmp_path), LABELS)


def test_segments_of_one_layer_each_without_values_are_merged(tmp_path: Path) -> None:
    """As Slicer before 4.11 wrote them: a mask for each segment, and no label values."""
    voxels = np.stack([(organ == LABELS).astype(np.uint8) for organ in (1, 2, 3)])
    path = data_set(tmp_path) / "a.seg.nrrd"
    save_segments(path, voxels, EYES_AND_BRAIN)
    head, _, body = path.read_bytes().partition(b"\n\n")
    kept = [line for line in head.split(b"\n") if b"LabelValue" not in line and b"_Layer" not in line]
    path.write_bytes(b"\n".join(kept) + b"\n\n" + body)
    np.testing.assert_array_equal(read(tmp_path), LABELS)


def test_one_layer_in_a_list_is_a_volume(tmp_path: Path) -> None:
    """Four axes, of which the first is of size 1."""
    save_segments(data_set(tmp_path) / "a.seg.nrrd", LABELS[None], EYES_AND_BRAIN)
    np.testing.assert_array_equal(read(tmp_path), LABELS)


def test_a_header_cannot_announce_any_number_of_layers(tmp_path: Path) -> None:
    """It is refused before anything is made of them."""
    path = data_set(tmp_path) / "a.seg.nrrd"
    save_segments(path, layers(), IN_LAYERS)
    path.write_bytes(path.read_bytes().replace(b"sizes: 2 6 5 4", b"sizes: 200000000 1 1 1"))
    with pytest.raises(FormatError, match="damaged, or 200000000 layers of segments; accepted: from 1 to 256 layers"):
        read(tmp_path)


def test_overlapping_segments_are_refused(tmp_path: Path) -> None:
    """Both organs, a voxel, and what to do in Slicer."""
    save_segments(data_set(tmp_path) / "a.seg.nrrd", layers(overlap=True), IN_LAYERS)
    z, y, x = np.argwhere(LABELS.T == 3)[0]
    with pytest.raises(
        FormatError, match=rf"left_eye and brain overlap, first at voxel {z}, {y}, {x} \(z, y, x\).*Masking"
    ):
        read(tmp_path)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        (
            ({"Name": "right_eye"}, {"Name": "left_eye"}, {"Name": "brain"}),
            r"'right_eye' \(label value 1\) is 1: left_eye by its number and 2: right_eye by its name; .*'left_eye'",
        ),
        (
            ({"Name": "left_eye"}, {"Name": "right_eye"}, {"Name": "liver"}),
            r"'liver' \(label value 3\) has a name that is no organ's, and its number is 3: brain",
        ),
        (
            ({"Name": "left_eye"}, {"Name": "right_eye"}, {"Name": "Segment_3", "LabelValue": 7}),
            r"'Segment_3' \(label value 7\) has neither the name of an organ nor a number of its own",
        ),
        (({"Name": "left_eye"}, {"Name": "right_eye"}), "layer 0 holds the value 3, which is no segment's"),
        (({"Name": "left_eye", "LabelValue": "one"},), "segment 0 has the label value 'one'"),
        (({"Name": "left_eye", "LabelValue": 0},), "segment 0 has the label value '0'"),
        (({"Name": "left_eye", "LabelValue": "0000000001999999999"},), "segment 0 has the label value '0000000001"),
    ],
)
def test_names_and_numbers_that_contradict_each_other_are_said(
    tmp_path: Path, segments: Sequence[Segment], message: str
) -> None:
    """The segment, what its number is, what its name is, and the organs that there are."""
    save_segments(data_set(tmp_path) / "a.seg.nrrd", LABELS, segments)
    with pytest.raises(FormatError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    "names", [("Left eye", "RIGHT-EYE", " brain "), ("", "Segment_2", "Segment 3"), ("left_eye", "right_eye", "")]
)
def test_names_are_compared_as_people_write_them_and_unnamed_segments_go_by_their_numbers(
    tmp_path: Path, names: Sequence[str]
) -> None:
    """Capitals, spaces and hyphens make no difference; Slicer's own names are none."""
    save_segments(data_set(tmp_path) / "a.seg.nrrd", LABELS, [{"Name": name} for name in names])
    np.testing.assert_array_equal(read(tmp_path), LABELS)


def test_a_single_segment_whose_number_is_no_organs_goes_by_its_name(tmp_path: Path) -> None:
    """A value beyond organs.yaml contradicts nothing."""
    voxels = np.where(LABELS == 2, 9, 0).astype(np.uint8)
    save_segments(data_set(tmp_path) / "a.seg.nrrd", voxels, [{"Name": "right_eye", "LabelValue": 9}])
    np.testing.assert_array_equal(read(tmp_path), np.where(LABELS == 2, 2, 0))
