"""Corrections over HTTP: in the formats and orientations that people have, and what is refused."""

from __future__ import annotations

import gzip
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name
from numpy.typing import NDArray

from scans.formats import create_volume, open_volume
from scans.geometry import Frame
from tests.serving.conftest import AFFINE, Example
from tests.serving.corrected import Labels, as_nifti, fetched, packed, put, segmented, voxels
from tests.serving.in_process import running_app
from tests.serving.running import RunningServer
from tests.training.data.labelled_scan import ORIENTATIONS
from tests.training.data.test_segments import save_segments


@pytest.fixture(scope="module")
def scan_id(server: RunningServer, example: Example) -> str:
    return segmented(server, example.path)


@pytest.fixture
def affine(server: RunningServer, scan_id: str) -> NDArray[np.float64]:
    return np.asarray(fetched(server, scan_id, "&version=0").affine)


@pytest.fixture
def drawn(request: pytest.FixtureRequest, example: Example) -> Labels:
    """Other labels for each test, so that none is known before; two organs, as the model has."""
    seed = sum(map(ord, request.node.name))
    return np.random.default_rng(seed).integers(0, 3, example.grey.shape).astype(np.uint8)


def test_a_correction_is_the_latest_version(
    server: RunningServer, scan_id: str, affine: NDArray[np.float64], drawn: Labels
) -> None:
    """What was sent comes back, where the scan lies, by number and without; the model's answer is still there."""
    before = voxels(fetched(server, scan_id, "&version=0"))
    answer = put(server, scan_id, as_nifti(drawn, affine), "mine.nii.gz")
    assert answer.status_code == 201, answer.text
    version = answer.json()["version"]
    assert answer.headers["location"] == f"/v1/scans/{scan_id}/segmentation?version={version}"
    latest = fetched(server, scan_id)
    np.testing.assert_array_equal(voxels(latest), drawn)
    np.testing.assert_array_equal(latest.affine, affine)
    np.testing.assert_array_equal(voxels(fetched(server, scan_id, f"&version={version}")), drawn)
    np.testing.assert_array_equal(voxels(fetched(server, scan_id, "&version=0")), before)
    assert server.get(f"/v1/scans/{scan_id}/segmentation?version=999").json()["type"].endswith("no-such-version")


@pytest.mark.parametrize("orientation", ORIENTATIONS[::7], ids=lambda value: "".join(map(str, value.ravel())))
def test_turned_labels_are_brought_onto_the_scan(
    server: RunningServer,
    scan_id: str,
    affine: NDArray[np.float64],
    drawn: Labels,
    orientation: NDArray[np.int64],
) -> None:
    """Axes in another order and direction, as viewers save them: each voxel has the label that was drawn there."""
    import nibabel as nib

    turned = nib.Nifti1Image(drawn.T, affine).as_reoriented(orientation)
    answer = put(server, scan_id, turned.to_bytes(), "turned.nii")
    assert answer.status_code in (200, 201), answer.text
    number = answer.json()["version"]
    np.testing.assert_array_equal(voxels(fetched(server, scan_id, f"&version={number}")), drawn)


def test_itk_saves_in_lps_and_is_understood(
    server: RunningServer, scan_id: str, affine: NDArray[np.float64], drawn: Labels, tmp_path: Path
) -> None:
    """A NRRD that ITK has turned to another orientation."""
    (tmp_path / "drawn.nii.gz").write_bytes(as_nifti(drawn, affine))
    turned = sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / "drawn.nii.gz")), "LPS")
    sitk.WriteImage(turned, str(tmp_path / "drawn.nrrd"), useCompression=True)
    answer = put(server, scan_id, (tmp_path / "drawn.nrrd").read_bytes(), "drawn.nrrd")
    assert answer.status_code == 201, answer.text
    np.testing.assert_array_equal(voxels(fetched(server, scan_id)), drawn)


def test_segments_of_slicer_go_by_their_names(
    server: RunningServer, scan_id: str, affine: NDArray[np.float64], drawn: Labels, tmp_path: Path
) -> None:
    """Slicer numbers segments as they come: 1 is the second organ here, as its name says."""
    names = [organ["name"] for organ in server.get("/v1/model").json()["organs"]]
    other_numbers = np.array([0, 2, 1], dtype=np.uint8)[drawn]
    save_segments(tmp_path / "a.seg.nrrd", other_numbers.T, [{"Name": names[1]}, {"Name": names[0]}], affine=affine)
    answer = put(server, scan_id, (tmp_path / "a.seg.nrrd").read_bytes(), "a.seg.nrrd")
    assert answer.status_code == 201, answer.text
    np.testing.assert_array_equal(voxels(fetched(server, scan_id)), drawn)


@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr", ".mha", ".seg.nrrd"])
def test_every_format_that_is_read_can_be_sent(
    server: RunningServer, scan_id: str, affine: NDArray[np.float64], drawn: Labels, tmp_path: Path, suffix: str
) -> None:
    """TIFF and OME-Zarr (zipped, as the client sends a folder) among them."""
    path, frame = tmp_path / f"drawn{suffix}", Frame.from_affine(affine)
    with create_volume(path, shape=drawn.shape, dtype=np.uint8, frame=frame) as writer:
        writer.write(drawn)
    content = packed(path) if path.is_dir() else path.read_bytes()
    answer = put(server, scan_id, content, f"{path.name}{'.zip' if path.is_dir() else ''}")
    assert answer.status_code == 201, answer.text
    np.testing.assert_array_equal(voxels(fetched(server, scan_id)), drawn)


def test_what_the_server_hands_out_can_be_sent_back(server: RunningServer, scan_id: str, drawn: Labels) -> None:
    """Each download of the model's answer is a correction that changes nothing: Dice 1, and no voxel."""
    for name in ("nii.gz", "nrrd", "tif", "ome-zarr"):
        content = server.get(f"/v1/scans/{scan_id}/segmentation?format={name}&version=0").content
        answer = put(server, scan_id, content, "back")
        assert answer.status_code == 201, answer.text
        assert [(c["added"], c["removed"], c["dice"]) for c in answer.json()["changes"]] == [(0, 0, 1.0)] * 2


def test_another_grid_is_refused_and_both_are_told(
    server: RunningServer, scan_id: str, affine: NDArray[np.float64], drawn: Labels
) -> None:
    """Another shape, and the same shape elsewhere; nothing of it stays."""
    before = server.get(f"/v1/scans/{scan_id}/segmentations").json()
    answer = put(server, scan_id, as_nifti(drawn[:-1], affine), "short.nii.gz")
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:ricefish:problem:bad-labels")
    assert "10 x 24 x 17 voxels" in answer.json()["detail"] and "11 x 24 x 17" in answer.json()["detail"]
    shifted = affine.copy()
    shifted[0, 3] += 5
    answer = put(server, scan_id, as_nifti(drawn, shifted), "shifted.nii.gz")
    assert answer.status_code == 422
    assert "lies up to 5 mm away" in answer.json()["found"]
    assert str(float(shifted[0, 3])) in answer.json()["found"] and str(float(affine[0, 3])) in answer.json()["found"]
    assert server.get(f"/v1/scans/{scan_id}/segmentations").json() == before
    assert not list(server.incoming.iterdir())


@pytest.mark.parametrize(("value", "named"), [(7, "7"), (-1, "-1"), (1.5, "1.5")])
def test_values_that_are_no_class_are_named(
    server: RunningServer, scan_id: str, affine: NDArray[np.float64], drawn: Labels, value: float, named: str
) -> None:
    """The value, the slices that hold it, and the classes that there are."""
    wrong = drawn.astype(np.float32 if isinstance(value, float) else np.int16)
    wrong[6, 0, 0] = value
    answer = put(server, scan_id, as_nifti(wrong, affine), "wrong.nii.gz")
    assert answer.status_code == 422
    assert answer.json()["found"] == f"it holds {named} in slices 4 to 7"
    assert "1: " in answer.json()["accepted"] and "255 where nobody has looked" in answer.json()["accepted"]


def test_a_segment_of_another_name_is_refused(
    server: RunningServer, scan_id: str, affine: NDArray[np.float64], drawn: Labels, tmp_path: Path
) -> None:
    """By its name, with those of the model."""
    save_segments(tmp_path / "a.seg.nrrd", drawn.T, [{"Name": "heart"}, {"Name": "liver"}], affine=affine)
    answer = put(server, scan_id, (tmp_path / "a.seg.nrrd").read_bytes(), "a.seg.nrrd")
    assert answer.status_code == 422 and "'liver'" in answer.json()["found"]


def test_files_and_requests_that_are_no_correction_are_refused(
    server: RunningServer, scan_id: str, affine: NDArray[np.float64], drawn: Labels
) -> None:
    """Another format, nothing, another checksum than stated, no name, a parameter that is none, an unknown scan."""
    content = as_nifti(drawn, affine)
    answers = [
        put(server, scan_id, b"no labels", "a.txt"),
        put(server, scan_id, b"", "a.nii"),
        put(server, scan_id, content, "a.nii.gz", sha256="0" * 64),
        put(server, scan_id, content, ""),
        put(server, scan_id, content, "a.nii.gz", author="me"),
        put(server, "0" * 32, content, "a.nii.gz"),
        put(server, scan_id, content[:-400], "a.nii.gz"),
    ]
    assert [answer.status_code for answer in answers] == [415, 400, 400, 400, 400, 404, 422]
    assert not list(server.incoming.iterdir())


def test_where_nobody_has_looked_counts_for_nobody(
    server: RunningServer, scan_id: str, affine: NDArray[np.float64], drawn: Labels
) -> None:
    """255 stays 255, is counted, is in no organ and no difference; pictures show the scan there."""
    drawn[3:] = 255
    answer = put(server, scan_id, as_nifti(drawn, affine), "part.nii.gz").json()
    assert answer["not_labelled"] == math.prod((8, 24, 17))
    np.testing.assert_array_equal(voxels(fetched(server, scan_id)), drawn)
    organs = server.get(f"/v1/scans/{scan_id}/organs").json()
    assert organs["version"] == answer["version"]
    assert [organ["voxels"] for organ in organs["organs"]] == [np.count_nonzero(drawn == index) for index in (1, 2)]
    model = voxels(fetched(server, scan_id, "&version=0"))[:3]
    for organ, change in enumerate(answer["changes"], start=1):
        ours, theirs = drawn[:3] == organ, model == organ
        both = np.count_nonzero(ours & theirs)
        assert change["added"] == np.count_nonzero(ours) - both
        assert change["removed"] == np.count_nonzero(theirs) - both
        assert change["dice"] == pytest.approx(2 * both / (np.count_nonzero(ours) + np.count_nonzero(theirs)))
    pictures = [server.get(f"/v1/scans/{scan_id}/slices/z/5.png{query}") for query in ("", "?opacity=0")]
    assert pictures[0].status_code == 200 and pictures[0].content == pictures[1].content


def test_the_same_bytes_again_are_the_same_version(
    server: RunningServer, scan_id: str, affine: NDArray[np.float64], drawn: Labels
) -> None:
    """A client that did not hear the answer may send them again; other bytes of the same labels are a new version."""
    content = as_nifti(drawn, affine)
    first, again = (put(server, scan_id, content, "mine.nii.gz") for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    other = put(server, scan_id, as_nifti(drawn.astype(np.int16), affine), "mine.nii.gz").json()
    assert other["version"] == first.json()["version"] + 1
    assert other["labels_sha256"] == first.json()["labels_sha256"] and other["sha256"] != first.json()["sha256"]


def test_versions_are_listed_and_removed(
    server: RunningServer, scan_id: str, affine: NDArray[np.float64], drawn: Labels
) -> None:
    """The model's answer first; a removed one is gone from the disk, and its number is not given again."""
    number = put(server, scan_id, as_nifti(drawn, affine), "mine.nii.gz").json()["version"]
    listed = server.get(f"/v1/scans/{scan_id}/segmentations").json()
    assert listed["versions"][0]["version"] == 0 and listed["versions"][0]["changes"] == []
    assert listed["versions"][-1]["version"] == number and listed["versions"][-1]["filename"] == "mine.nii.gz"
    folder = server.store / "scans" / scan_id / "corrections"
    there = len(list(folder.iterdir()))
    assert there == len(listed["versions"]) - 1
    assert server.delete(f"/v1/scans/{scan_id}/segmentations/{number}").status_code == 204
    assert len(list(folder.iterdir())) == there - 1
    assert server.delete(f"/v1/scans/{scan_id}/segmentations/{number}").status_code == 404
    assert server.delete(f"/v1/scans/{scan_id}/segmentations/0").status_code == 400
    assert put(server, scan_id, as_nifti(drawn, affine), "mine.nii.gz").json()["version"] == number + 1


def test_a_scan_takes_its_corrections_with_it(
    server: RunningServer, example: Example, affine: NDArray[np.float64], drawn: Labels
) -> None:
    """Nothing of it stays, in the store and in the database."""
    scan_id = segmented(server, example.path)
    assert put(server, scan_id, as_nifti(drawn, affine), "mine.nii.gz").json()["version"] == 1
    assert server.delete(f"/v1/scans/{scan_id}").status_code == 204
    assert not (server.store / "scans" / scan_id).exists()
    assert server.get(f"/v1/scans/{scan_id}/segmentations").status_code == 404


def test_a_file_that_is_larger_than_allowed_is_refused(
    tmp_path: Path, model_dir: Path, example: Example, drawn: Labels
) -> None:
    """As it was sent, and unpacked; what fits is taken, also by a server that reads in its own process."""
    wide, affine = drawn.astype(np.float64), AFFINE.astype(np.float64)
    with running_app(tmp_path, model_dir, readers=0, upload_limit_bytes=15_000) as app:
        posted = app.ask("POST", b"/v1/scans?filename=fish.nii.gz", body=example.path.read_bytes())
        place = f"/v1/scans/{posted.json()['id']}"
        until = time.monotonic() + 60
        while app.ask("GET", place.encode()).json()["state"] != "succeeded":
            assert time.monotonic() < until
            time.sleep(0.05)
        target = f"{place}/segmentation?filename=a.nii.gz".encode()
        plain = gzip.decompress(as_nifti(wide, affine))
        assert len(plain) > 15_000 > len(as_nifti(wide, affine))
        answers = [app.ask("PUT", target, body=body) for body in (plain, as_nifti(wide, affine))]
        assert [(one.status, one.json()["type"]) for one in answers] == [(413, "urn:ricefish:problem:too-large")] * 2
        assert app.ask("PUT", target, body=as_nifti(drawn, affine)).status == 201


def test_the_scan_itself_can_be_fetched(server: RunningServer, scan_id: str, example: Example, tmp_path: Path) -> None:
    """In each format it has the grey values and the place that were sent; OME-Zarr has it beside its segmentation."""
    sent = sitk.ReadImage(str(example.path))
    for name, suffix in (("nii.gz", ".nii.gz"), ("nrrd", ".nrrd")):
        answer = server.get(f"/v1/scans/{scan_id}/image?format={name}")
        (tmp_path / f"scan{suffix}").write_bytes(answer.content)
        image = sitk.ReadImage(str(tmp_path / f"scan{suffix}"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), example.grey)
        np.testing.assert_allclose(image.GetDirection(), sent.GetDirection(), atol=1e-6)
        np.testing.assert_allclose(image.GetOrigin(), sent.GetOrigin(), atol=1e-5)
        assert f'filename="fish_7{suffix}"' in answer.headers["content-disposition"]
    drawn = np.random.default_rng(5).integers(0, 3, example.grey.shape).astype(np.uint8)
    affine = np.asarray(fetched(server, scan_id, "&version=0").affine)
    number = put(server, scan_id, as_nifti(drawn, affine), "a.nii.gz").json()["version"]
    both = server.get(f"/v1/scans/{scan_id}/segmentation?format=ome-zarr&scan=true&version={number}")
    (tmp_path / "both.ome.zarr.zip").write_bytes(both.content)
    with open_volume(tmp_path / "both.ome.zarr.zip") as image:
        np.testing.assert_array_equal(image.read(), example.grey)
    with open_volume(tmp_path / "both.ome.zarr.zip", dataset="labels/segmentation", labels=True) as labels:
        np.testing.assert_array_equal(labels.read(), drawn)
    refused = server.get(f"/v1/scans/{scan_id}/image?format=ome-zarr")
    assert refused.status_code == 400 and "nii.gz, nrrd, tif" in json.dumps(refused.json())
