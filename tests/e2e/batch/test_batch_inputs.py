"""Which scans files, folders and patterns stand for."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from ricefish.folder_contents import read_contents
from ricefish.inputs import Inputs, expanded, read_inputs


def _tiff(pages: int) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((pages, 4, 5), np.uint8), photometric="minisblack")
    return file.getvalue()


def _dicom() -> bytes:
    return bytes(128) + b"DICM" + bytes(200)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write(**files: bytes) -> None:
    """Files by their paths, with __ for a slash and _o_ for a dot."""
    for name, content in files.items():
        path = Path(name.replace("__", "/").replace("_o_", "."))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _placed(inputs: Inputs) -> dict[str, str]:
    return {scan.path.as_posix(): scan.place.as_posix() for scan in inputs.scans}


def _read(*names: str) -> Inputs:
    return read_inputs(map(Path, names), besides=Path("organs"))


@pytest.mark.usefixtures("here")
def test_a_folder_of_scans_is_each_of_them_with_its_folders_kept() -> None:
    """Notes and previews are passed over and listed, and so are segmentations; hidden files, those of desktops and the
    results, which lie in the folder too, are not spoken of.
    """
    _write(s__a_o_nii_o_gz=b"x", s__day_o_1__b_o_NRRD=b"", s__day_o_1__c_o_h5=b"x", s__notes_o_txt=b"x")
    _write(s__a_o_seg_o_nrrd=b"x", s__preview_o_png=b"x", s___o_DS_Store=b"x", s__Thumbs_o_db=b"x")
    _write(s__organs__a_o_nii_o_gz=b"x")
    inputs = read_inputs([Path("s")], besides=Path("s/organs"))
    assert _placed(inputs) == {
        "s/a.nii.gz": "a",
        "s/day.1/b.NRRD": "day.1/b",
        "s/day.1/c.h5": "day.1/c",
    }
    assert [path.name for path in inputs.passed_over] == ["a.seg.nrrd", "notes.txt", "preview.png"]
    assert inputs.refused == {}


@pytest.mark.usefixtures("here")
def test_a_folder_may_be_one_scan_itself_or_hold_such_folders() -> None:
    """Single pages of TIFF, DICOM with or without a suffix, pictures, a Zarr; each is sent as the folder that it is."""
    _write(s__t__1_o_tif=_tiff(1), s__t__2_o_tif=_tiff(1), s__t__10_o_tif=_tiff(1), s__t__scan_o_log=b"x")
    _write(s__d__IM1=_dicom(), s__d__IM2=_dicom(), s__p__1_o_png=b"x", s__p__2_o_png=b"x")
    _write(s__z_o_ome_o_zarr__zarr_o_json=b"{}", s__z_o_ome_o_zarr__0__c=b"x")
    assert _placed(_read("s")) == {"s/t": "t", "s/d": "d", "s/p": "p", "s/z.ome.zarr": "z"}
    assert _placed(_read("s/t", "s/d", "s/z.ome.zarr")) == {"s/t": "t", "s/d": "d", "s/z.ome.zarr": "z"}


@pytest.mark.usefixtures("here")
def test_stacks_of_tiff_are_a_scan_each() -> None:
    """Files of several pages, and a single file of one; a damaged first slice makes no scans of all the others."""
    _write(s__1_o_tif=_tiff(3), s__2_o_tif=_tiff(2), one__1_o_tif=_tiff(1))
    _write(torn__1_o_tif=b"II", torn__2_o_tif=_tiff(1), torn__3_o_tif=_tiff(1))
    assert _placed(_read("s")) == {"s/1.tif": "1", "s/2.tif": "2"}
    assert _placed(_read("one")) == {"one/1.tif": "1"}
    assert _placed(_read("torn")) == {"torn": "torn"}


@pytest.mark.usefixtures("here")
def test_voxels_are_sent_with_their_header_and_not_alone() -> None:
    """In a folder, and where a pattern matches both."""
    _write(s__a_o_mhd=b"ElementDataFile = voxels.bin\n", s__voxels_o_bin=b"x", s__b_o_hdr=b"x", s__b_o_img=b"x")
    assert _placed(_read("s")) == {"s/a.mhd": "a", "s/b.hdr": "b"}
    assert _placed(_read(*map(str, expanded([Path("s/*")])))) == {"s/a.mhd": "a", "s/b.hdr": "b"}


@pytest.mark.usefixtures("here")
def test_a_folder_that_cannot_be_sent_is_refused_by_name_and_others_are_not() -> None:
    """Slices beside other scans, and a folder without any."""
    _write(mixed__1_o_tif=_tiff(1), mixed__2_o_tif=_tiff(1), mixed__IM1=_dicom(), mixed__a_o_nii=b"x")
    _write(mixed__in__b_o_nii=b"x", empty__notes_o_txt=b"x", c_o_nii=b"x")
    inputs = _read("mixed", "empty", "c.nii")
    assert _placed(inputs) == {"mixed/in/b.nii": "in/b", "c.nii": "c"}
    assert "slices, such as IM1, among other scans, such as a.nii" in inputs.refused[Path("mixed")]
    assert inputs.refused[Path("empty")].startswith("no scan in this folder; accepted: NIfTI")


def test_links_are_followed_and_never_round_in_circles(here: Path) -> None:
    """A link to a folder elsewhere is part of the folder; one to a folder above is not gone."""
    _write(far__a_o_nii=b"x", s__b_o_nii=b"x")
    (here / "s" / "linked").symlink_to(here / "far")
    (here / "far" / "back").symlink_to(here / "s")
    assert _placed(_read("s")) == {"s/b.nii": "b", "s/linked/a.nii": "linked/a"}


@pytest.mark.usefixtures("here")
def test_patterns_are_expanded_in_natural_order_and_what_comes_twice_is_one() -> None:
    """A name with brackets that is there is that file."""
    _write(f10_o_nii=b"x", f9_o_nii=b"x", d__e__f1_o_nii=b"x")
    Path("a[1].nii").write_bytes(b"x")
    assert [str(path) for path in expanded([Path("f*.nii"), Path("f9.nii")])] == ["f9.nii", "f10.nii"]
    assert [str(path) for path in expanded([Path("**/f1.nii"), Path("a[1].nii")])] == ["d/e/f1.nii", "a[1].nii"]
    with pytest.raises(FileNotFoundError, match=r"g\*\.nii: no file or folder has such a name"):
        expanded([Path("g*.nii")])
    with pytest.raises(FileNotFoundError, match=r"g\.nii does not exist"):
        expanded([Path("f9.nii"), Path("g.nii")])


@pytest.mark.usefixtures("here")
def test_a_pattern_that_matches_the_folder_of_results_is_none_the_worse() -> None:
    """It is passed over, and said to be; what is named alone as input and output is a mistake."""
    _write(day__a_o_nii=b"x", day__out__a_o_nii_o_gz=b"x")
    inputs = read_inputs(expanded([Path("day/*")]), besides=Path("day/out"))
    assert (_placed(inputs), inputs.refused, inputs.passed_over) == ({"day/a.nii": "a"}, {}, [Path("day/out")])
    with pytest.raises(ValueError, match="day is both where the scans are and where the results go; give another"):
        read_inputs([Path("day")], besides=Path("day/out/.."))


def test_a_scan_that_is_met_twice_is_one(here: Path) -> None:
    """Named beside its folder, or behind a link in it; the first place is its own."""
    _write(s__day__a_o_nii=b"x", s__b_o_nii=b"x", far__1_o_tif=_tiff(1), far__2_o_tif=_tiff(1))
    (here / "s" / "c.nii").symlink_to(here / "s" / "b.nii")
    (here / "s" / "linked").symlink_to(here / "far")
    inputs = _read("s", "s/day", "s/b.nii", "far")
    assert _placed(inputs) == {"s/day/a.nii": "day/a", "s/b.nii": "b", "s/linked": "linked"}
    assert inputs.refused == {}


NAMES = st.sampled_from(["a.nii", "b.tif", "c.dcm", "d.png", "e.txt", "f", "g.raw", ".h", "i.mhd", "j.zip", "k.hdr"])


@given(files=st.dictionaries(NAMES, st.sampled_from([b"", b"II*\0", b"PK\x03\x04", _dicom(), _tiff(1), b"\xff" * 600])))
def test_every_file_is_something_whatever_it_holds(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    """A volume, a slice or passed over, and one of them alone; but for hidden ones."""
    folder = tmp_path_factory.mktemp("any")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    contents = read_contents(folder)
    found = [*contents.volumes, *contents.series, *contents.others]
    assert sorted(path.name for path in found) == sorted(set(files) - {".h"})
    assert contents.folders == []


def test_dicom_is_known_as_pydicom_writes_it(here: Path) -> None:
    """Files without a suffix, as scanners name them."""
    for number in range(2):
        content = pydicom.Dataset()
        content.PatientID = "fish"
        content.file_meta = pydicom.dataset.FileMetaDataset()
        content.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        content.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
        content.file_meta.MediaStorageSOPInstanceUID = f"1.2.{number}"
        content.save_as(here / f"IM{number}", enforce_file_format=True)
    assert [path.name for path in read_contents(here).series] == ["IM0", "IM1"]
