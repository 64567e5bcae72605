"""Raw data sets: what is found in the folder, and what is wrong with names, frames and spacing."""

import unicodedata
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from scans.formats import FormatError, create_volume
from scans.geometry import Frame, Spacing
from scans.organs import OrganMapError
from training.data.raw import RawDataError, discover

FRAME = Frame.from_lps(Spacing(z=2.0, y=1.0, x=1.0))
SHAPE = (3, 4, 5)


def put(path: Path, *, shape: tuple[int, int, int] = SHAPE, frame: Frame = FRAME) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with create_volume(path, shape=shape, dtype=np.uint8, frame=frame) as writer:
        writer.write(np.ones(shape, dtype=np.uint8))
    return path


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.fixture
def raw_dir(tmp_path: Path) -> Path:
    """Two labelled scans, by name alone."""
    (tmp_path / "organs.yaml").write_text("1: heart\n2: liver\n")
    for name in ("a.nii.gz", "b.nrrd"):
        touch(tmp_path / "labelled" / "images" / name)
    for name in ("a.nii.gz", "b.seg.nrrd"):
        touch(tmp_path / "labelled" / "labels" / name)
    return tmp_path


def test_images_and_labels_are_matched_by_name_whatever_their_formats(raw_dir: Path):
    """b.nrrd has its labels in b.seg.nrrd."""
    raw = discover(raw_dir)
    assert raw.problems == ()
    assert [(scan.id, scan.image.name, scan.labels and scan.labels.name) for scan in raw.scans] == [
        ("a", "a.nii.gz", "a.nii.gz"),
        ("b", "b.nrrd", "b.seg.nrrd"),
    ]


def test_experiments_are_the_folders_of_the_unlabelled_scans(raw_dir: Path):
    """images/ is no experiment; elsewhere the experiment is part of the id, so that names may repeat."""
    for place in ("images/c.tif", "spring/d.tif", "autumn/d.tif"):
        touch(raw_dir / "unlabelled" / place)
    raw = discover(raw_dir)
    assert raw.problems == ()
    assert [(scan.id, scan.experiment) for scan in raw.scans if scan.labels is None] == [
        ("autumn-d", "autumn"),
        ("c", ""),
        ("spring-d", "spring"),
    ]


def test_a_folder_of_slices_is_one_scan_and_hidden_files_are_none(raw_dir: Path):
    """A TIFF series in its folder, .DS_Store beside it, and the voxels of a MetaImage beside its header."""
    touch(raw_dir / "unlabelled" / "images" / "series" / "0001.tif")
    for name in (".DS_Store", "e.mhd", "e.raw"):
        touch(raw_dir / "unlabelled" / "images" / name)
    raw = discover(raw_dir)
    assert raw.problems == ()
    assert [scan.image.name for scan in raw.scans[2:]] == ["e.mhd", "series"]


def test_headers_and_their_voxels_are_one_scan(raw_dir: Path):
    """With dots in the name, in another case, under a name that only the header knows, and as a NIfTI pair."""
    images = raw_dir / "unlabelled" / "images"
    for name in ("a.b.mhd", "a.b.raw", "c.nhdr", "C.RAW.gz", "d.hdr", "d.img", "voxels.bin"):
        touch(images / name)
    (images / "e.mhd").write_text("NDims = 3\nElementDataFile = voxels.bin\n")
    raw = discover(raw_dir)
    assert raw.problems == ()
    assert [scan.id for scan in raw.scans[2:]] == ["a.b", "c", "d", "e"]


def test_side_files_are_no_scans_and_those_that_somebody_wrote_are_said(raw_dir: Path, caplog):
    """One list for servers and training: notes, settings, previews; desktops' leftovers go unsaid."""
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._a.nii.gz", "fish.ctvol", "fish.log", "fish.json", "a.roi"):
        touch(raw_dir / "labelled" / "images" / name)
    (raw_dir / "unlabelled" / "images" / "__MACOSX").mkdir(parents=True)
    assert discover(raw_dir).problems == ()
    said = sorted(record.message.split(" is passed over")[0].rpartition("/")[2] for record in caplog.records)
    assert said == ["a.roi", "fish.ctvol", "fish.json", "fish.log"]


def test_names_are_compared_composed(raw_dir: Path):
    """Labels from a Mac belong to their image from elsewhere."""
    for folder, form in (("images", "NFC"), ("labels", "NFD")):
        touch(raw_dir / "labelled" / folder / unicodedata.normalize(form, "Größe.nii.gz"))
    raw = discover(raw_dir)
    assert (raw.problems, raw.scans[0].id) == ((), "Größe")


@pytest.mark.parametrize(
    ("added", "problem"),
    [
        (
            "labelled/images/c.tif",
            "labelled/images/c.tif has no labels; expected labelled/labels/c with any format's suffix",
        ),
        (
            "labelled/labels/c.tif",
            "labelled/labels/c.tif has no image; expected labelled/images/c with any format's suffix",
        ),
        (
            "labelled/images/a.tif",
            "labelled/images/a.nii.gz and labelled/images/a.tif have the same name, a; keep one",
        ),
        (
            "unlabelled/c.tif",
            "unlabelled/c.tif is in no experiment; move it to unlabelled/images/c.tif",
        ),
        (
            "unlabelled/images/a.tif",
            "labelled/images/a.nii.gz and unlabelled/images/a.tif have the same name, a; "
            "rename one, or remove it if they are the same scan",
        ),
    ],
)
def test_each_fault_of_the_names_is_told(raw_dir: Path, added: str, problem: str):
    """By the paths at fault, with what would be right."""
    touch(raw_dir / added)
    assert discover(raw_dir).problems == (problem,)


def test_a_single_labelled_scan_is_too_few(raw_dir: Path):
    """One is needed to learn from and another to hold out."""
    (raw_dir / "labelled/images/b.nrrd").unlink()
    (raw_dir / "labelled/labels/b.seg.nrrd").unlink()
    (problem,) = discover(raw_dir).problems
    assert problem == "labelled/ holds 1 scans with labels; it takes two, one to learn from and one to hold out"


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path):
    """Without organs.yaml, and with no labelled folder."""
    with pytest.raises(OrganMapError, match=r"organs\.yaml does not exist"):
        discover(tmp_path)
    (tmp_path / "organs.yaml").write_text("1: heart\n")
    assert discover(tmp_path).problems[:2] == ("labelled/images/ does not exist", "labelled/labels/ does not exist")


def test_labels_of_another_shape_are_refused(tmp_path: Path):
    """Both shapes are told."""
    raw = placed(tmp_path, shape=(3, 4, 6))
    with pytest.raises(RawDataError) as caught, raw.open(raw.scans[0]):
        pass
    assert caught.value.problems == (
        "labelled/labels/a.nii.gz has 3 x 4 x 6 voxels (z x y x x); its image has 3 x 4 x 5",
    )


def placed(folder: Path, *, shape: tuple[int, int, int] = SHAPE, frame: Frame = FRAME):
    """A data set whose scan `a` has labels of that shape, in that frame."""
    (folder / "organs.yaml").write_text("1: heart\n")
    put(folder / "labelled/images/a.nii.gz")
    put(folder / "labelled/labels/a.nii.gz", shape=shape, frame=frame)
    return discover(folder)


def test_labels_that_lie_elsewhere_are_refused(tmp_path: Path):
    """One voxel to the side is too far: the message says how far, and what both affines are."""
    raw = placed(tmp_path, frame=Frame.from_lps(FRAME.spacing, origin=(1.0, 0.0, 0.0)))
    with pytest.raises(RawDataError, match="lies up to 1 mm away from its image, whose smallest spacing is 1 mm"):
        raw.open(raw.scans[0]).__enter__()


def test_labels_that_lie_within_rounding_are_accepted(tmp_path: Path):
    """A twentieth of a voxel is what formats that round leave."""
    raw = placed(tmp_path, frame=Frame.from_lps(FRAME.spacing, origin=(0.05, 0.0, 0.0)))
    with raw.open(raw.scans[0]) as (image, labels):
        assert labels is not None
        assert labels.shape == image.shape


def test_labels_without_spacing_lie_where_their_image_lies(tmp_path: Path):
    """A bare TIFF stack of labels takes the frame of the image, origin and all."""
    (tmp_path / "organs.yaml").write_text("1: heart\n")
    frame = Frame.from_lps(Spacing(z=2.0, y=1.0, x=1.0), origin=(5.0, 6.0, 7.0))
    put(tmp_path / "labelled/images/a.nii.gz", frame=frame)
    (tmp_path / "labelled/labels").mkdir()
    tifffile.imwrite(tmp_path / "labelled/labels/a.tif", np.ones(SHAPE, dtype=np.uint8), photometric="minisblack")
    raw = discover(tmp_path)
    with raw.open(raw.scans[0]) as (image, labels):
        assert labels is not None
        assert labels.frame == image.frame
        assert labels.read().shape == SHAPE


def test_scans_without_spacing_get_it_from_spacing_yaml_or_ask_for_it(raw_dir: Path):
    """The error names the file to write; once it is there the scan opens with that spacing."""
    path = raw_dir / "unlabelled/images/c.tif"
    path.parent.mkdir(parents=True)
    tifffile.imwrite(path, np.ones(SHAPE, dtype=np.uint8), photometric="minisblack")
    raw = discover(raw_dir)
    with pytest.raises(FormatError, match=r"a file spacing\.yaml beside organs\.yaml"), raw.open(raw.scans[-1]):
        pass
    (raw_dir / "spacing.yaml").write_text("{z: 0.01, y: 0.005, x: 0.004}\n")
    raw = discover(raw_dir)
    with raw.open(raw.scans[-1]) as (image, _):
        assert tuple(image.spacing) == pytest.approx((0.01, 0.005, 0.004))


@pytest.mark.parametrize("content", ["z: 1.0", "{z: 1, y: 1, x: -1}", "[1, 2, 3]", "{z: thick, y: 1, x: 1}"])
def test_a_spacing_file_that_says_no_spacing_is_refused(raw_dir: Path, content: str):
    """The message names the file and shows a right one."""
    (raw_dir / "spacing.yaml").write_text(content)
    with pytest.raises(RawDataError, match=r"spacing\.yaml: .*; expected \{z: 0\.01, y: 0\.005, x: 0\.005\}, in mm"):
        discover(raw_dir)


def test_datasets_yaml_says_which_volume_of_a_file_is_meant(raw_dir: Path):
    """By patterns of paths, the first that fits; what fits no file, and what is no list, is told."""
    path = raw_dir / "unlabelled/spring/c.h5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        for name, value in (("raw", 1), ("filtered", 2)):
            data = file.create_dataset(name, data=np.full(SHAPE, value, np.uint8))
            data.attrs["element_size_um"] = (3.0, 2.0, 1.0)
    raw = discover(raw_dir)
    with pytest.raises(FormatError, match=r"a line in datasets\.yaml"), raw.open(raw.scans[-1]):
        pass
    said = raw_dir / "datasets.yaml"
    said.write_text("unlabelled/spring/*: filtered\nunlabelled/*: raw\n")
    raw = discover(raw_dir)
    assert raw.problems == ()
    with raw.open(raw.scans[-1]) as (image, _):
        assert image.read().max() == 2
    said.write_text("unlabelled/autumn/*: raw\n")
    assert discover(raw_dir).problems == (
        "datasets.yaml names unlabelled/autumn/*, as no scan or label is called; expected paths such as "
        "labelled/images/*.h5",
    )
    for content in ("raw", "a: [1]", "{a"):
        said.write_text(content)
        with pytest.raises(RawDataError, match=r"datasets\.yaml.*expected a line for each pattern"):
            discover(raw_dir)
