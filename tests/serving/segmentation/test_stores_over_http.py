"""The segmentation's store by its address: ranges, versions, what programs of others open, and scans under way."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import pytest
import zarr

from serving.storage.contract import RESULT_DIR
from tests.serving.auth.test_keys import add
from tests.serving.conftest import Example
from tests.serving.models import write_model
from tests.serving.running import RunningServer

pytestmark = [pytest.mark.process, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")]

SHARD = "0/c/0/0/0"


@pytest.fixture(scope="module")
def scan(server: RunningServer, example: Example) -> str:
    return str(server.until_ended(server.post(example.path, "fish.nii.gz").json()["id"])["id"])


@pytest.fixture(scope="module")
def place(server: RunningServer, scan: str) -> str:
    return f"{server.url}/v1/scans/{scan}/{RESULT_DIR}"


def get(place: str, name: str = SHARD, method: str = "GET", **headers: str) -> httpx.Response:
    named = {header.replace("_", "-"): value for header, value in headers.items()}
    return httpx.request(method, f"{place}/{name}", headers=named, trust_env=False)


def test_a_file_whole_and_in_part(server: RunningServer, scan: str, place: str) -> None:
    """The bytes that are stored; 206 says which part it is, and HEAD how long the whole."""
    stored = (server.store / "scans" / scan / RESULT_DIR / SHARD).read_bytes()
    whole, size = get(place), len(stored)
    assert (whole.status_code, whole.content) == (200, stored)
    assert whole.headers["content-type"] == "application/octet-stream"
    assert get(place, "zarr.json").headers["content-type"] == "application/json"
    assert whole.headers["cache-control"] == "private, no-cache"
    assert whole.headers["accept-ranges"] == "bytes"
    for stated, start, stop in (("bytes=2-5", 2, 6), ("bytes=-16", size - 16, size), (f"bytes={size - 1}-", -1, size)):
        part = get(place, Range=stated)
        assert (part.status_code, part.content) == (206, stored[start:stop])
        assert part.headers["content-range"] == f"bytes {start % size}-{stop - 1}/{size}"
        assert part.headers["content-length"] == str(len(part.content))
    head = get(place, method="HEAD")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(size))
    assert head.headers["etag"] == whole.headers["etag"]


def test_a_part_behind_the_end_is_refused(place: str) -> None:
    """416 with the length."""
    size = get(place, method="HEAD").headers["content-length"]
    refused = get(place, Range="bytes=99999999-")
    assert (refused.status_code, refused.headers["content-range"]) == (416, f"bytes */{size}")
    assert refused.json()["type"] == "urn:ricefish:problem:bad-range"


def test_a_version_is_sent_once(place: str) -> None:
    """304 to who has it; a part of another version becomes the whole of this one."""
    tag = get(place).headers["etag"]
    known = get(place, If_None_Match=tag)
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", tag)
    assert get(place, Range="bytes=0-1", If_Range=tag).status_code == 206
    assert get(place, Range="bytes=0-1", If_Range='"other"').status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "",
        "0",
        "0/c",
        "0/c/99/0/0",
        "zarr.json/",
        "%2e%2e/source",
        "..%2f..%2fjobs.sqlite",
        "%2fetc%2fpasswd",
        "0/c/0/0/0/",
    ],
)
def test_what_is_no_file_of_it_is_not_there(place: str, name: str) -> None:
    """404, wherever it would lead to, and it is not kept by whoever asked: it may come."""
    answer = get(place, name)
    assert answer.status_code == 404, answer.text
    assert "max-age" not in answer.headers["cache-control"]


def test_zarr_and_ome_zarr_open_it_by_its_address(server: RunningServer, scan: str, place: str, tmp_path: Path) -> None:
    """The voxels are those of the download, in zarr over fsspec and in ome-zarr-py, which finds scale and labels."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    file = tmp_path / "organs.nii.gz"
    file.write_bytes(server.get(f"/v1/scans/{scan}/segmentation").content)
    expected = np.asarray(nib.load(file).dataobj).T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries' own making
        array = zarr.open_group(place, mode="r")["0"]
        assert isinstance(array, zarr.Array)
        np.testing.assert_array_equal(np.asarray(array[:]), expected)
        assert np.asarray(array[3:5, 7, :]).tolist() == expected[3:5, 7].tolist()
        location = parse_url(place, mode="r")
        assert location is not None
        node = next(iter(Reader(location)()))
        np.testing.assert_array_equal(np.asarray(node.data[0]), expected)


def test_a_damaged_file_is_made_again(server: RunningServer, example: Example) -> None:
    """503 and not a byte of it, as for every other result; a moment later it is whole."""
    scan = str(server.until_ended(server.post(example.path, "fish.nii.gz").json()["id"])["id"])
    place = f"{server.url}/v1/scans/{scan}/{RESULT_DIR}"
    stored = server.store / "scans" / scan / RESULT_DIR / SHARD
    whole = get(place).content
    stored.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused = get(place, Range="bytes=0-3")
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:ricefish:problem:result-damaged")
    server.until_ended(scan)
    assert get(place).content == whole


def test_the_scan_and_a_correction_are_opened_by_their_addresses(
    server: RunningServer, scan: str, example: Example, tmp_path: Path
) -> None:
    """Grey values as they were sent; labels as they were put right, beside the model's answer, which stays."""
    place = f"{server.url}/v1/scans/{scan}"
    answered = server.get(f"/v1/scans/{scan}/segmentation?format=nrrd&version=0").content
    (tmp_path / "mine.nrrd").write_bytes(answered)
    sent = server.http.put(f"{place}/segmentation?filename=mine.nrrd", content=answered)
    assert sent.status_code == 201, sent.text
    number = sent.json()["version"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries' own making
        arrays = {
            store: zarr.open_group(f"{place}/{store}.ome.zarr", mode="r")["0"]
            for store in ("image", "segmentation", f"segmentations/{number}")
        }
        voxels = {store: np.asarray(array[:]) for store, array in arrays.items() if isinstance(array, zarr.Array)}
    np.testing.assert_array_equal(voxels["image"], example.grey)
    np.testing.assert_array_equal(voxels["segmentation"], voxels[f"segmentations/{number}"])
    assert get(f"{place}/segmentations/99.ome.zarr", "zarr.json").status_code == 404


def test_the_scan_is_opened_with_its_labels(server: RunningServer, scan: str, example: Example) -> None:
    """ome-zarr-py finds the organs below the scan, the model's answer first; what names no label is not there."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    place = f"{server.url}/v1/scans/{scan}/image.ome.zarr"
    tag = get(place, "labels/zarr.json").headers["etag"]
    assert get(place, "labels/zarr.json", If_None_Match=tag).status_code == 304
    head = get(place, "labels/zarr.json", method="HEAD")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(get(place, "labels/zarr.json").content)))
    for name in ("labels/other/zarr.json", "labels/correction_99/zarr.json", "labels/segmentation", "labels"):
        assert get(place, name).status_code == 404, name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries' own making
        location = parse_url(place, mode="r")
        assert location is not None
        image, group, labels = list(Reader(location)())[:3]
        np.testing.assert_array_equal(np.asarray(image.data[0]), example.grey)
        assert group.zarr.root_attrs["labels"][0] == "segmentation"
        stored = zarr.open_group(f"{server.url}/v1/scans/{scan}/{RESULT_DIR}", mode="r")["0"]
        assert isinstance(stored, zarr.Array)
        np.testing.assert_array_equal(np.asarray(labels.data[0]), np.asarray(stored[:]))


def test_what_was_found_damaged_is_not_handed_out_while_it_waits(
    tmp_path: Path, model_dir: Path, example: Example
) -> None:
    """Nobody works on it yet, and of its files no checksum is noted any more: none of them is there."""
    server = RunningServer(tmp_path, model_dir, slab_slices=4)
    server.start()
    scan = server.until_ended(server.post(example.path, "fish.nii.gz").json()["id"])["id"]
    server.end()
    stored = tmp_path / "store" / "scans" / str(scan) / RESULT_DIR / SHARD
    stored.write_bytes(stored.read_bytes()[:-1] + b"?")
    waiting = RunningServer(tmp_path, model_dir, slab_slices=4, concurrent_scans=0)
    waiting.start()
    try:
        place = f"{waiting.url}/v1/scans/{scan}/{RESULT_DIR}"
        assert [get(place).status_code for _ in range(2)] == [503, 404]
        assert waiting.get(f"/v1/scans/{scan}").json()["state"] == "queued"
    finally:
        waiting.end()


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[RunningServer]:
    """A server whose model takes its time, so that a scan is seen under way."""
    model = write_model(tmp_path / "slow", rounds=40)
    server = RunningServer(tmp_path, model, slab_slices=1, batch_size=1).start()
    yield server
    server.end()


def test_what_is_finished_of_a_scan_under_way_is_there(slow: RunningServer, tmp_path: Path) -> None:
    """A slab that is done can be read, those that are not are 404, and may come; cancelled, it has none."""
    grey = np.random.default_rng(1).integers(0, 100, (64, 96, 96)).astype(np.uint8)
    nib.save(nib.Nifti1Image(grey.T, np.diag([0.01, 0.01, 0.01, 1])), tmp_path / "long.nii.gz")
    scan = slow.post(tmp_path / "long.nii.gz", "long.nii.gz").json()["id"]
    place = f"{slow.url}/v1/scans/{scan}/{RESULT_DIR}"
    seen: dict[str, Any] = {}

    def under_way() -> bool:
        seen.update(slow.get(f"/v1/scans/{scan}").json())
        return 2 <= seen["slices_done"] < 60

    slow.until(under_way)
    first, last = get(place), get(place, "0/c/63/0/0")
    assert (first.status_code, first.headers["cache-control"]) == (200, "private, no-cache")
    assert (last.status_code, last.headers["cache-control"]) == (404, "no-store")
    assert "it is running" in last.json()["detail"]
    assert get(place, "zarr.json").status_code == 200
    slow.http.post(f"{slow.url}/v1/scans/{scan}/cancel").raise_for_status()
    assert get(place).status_code == 409


def test_it_is_its_owners(tmp_path: Path, model_dir: Path, example: Example) -> None:
    """By key, and by the cookie of a session; another owner's is not there."""
    server = RunningServer(tmp_path, model_dir, slab_slices=4)
    ours, theirs = (add(server, "--scope", "segment", "--owner", owner) for owner in ("ada", "eve"))
    server.start()
    try:
        post = server.http.post(
            f"{server.url}/v1/scans?filename=fish.nii.gz", content=example.path.read_bytes(), headers=ours
        )
        path = f"{server.url}/v1/scans/{post.json()['id']}/{RESULT_DIR}/zarr.json"
        key = ours["Authorization"].removeprefix("Bearer ")
        with httpx.Client(trust_env=False) as browser:
            assert browser.get(path).status_code == 401
            browser.post(f"{server.url}/sign-in", data={"key": key})
            assert browser.get(path).status_code == browser.head(path).status_code == 200
        assert [server.http.get(path, headers=shown).status_code for shown in (ours, theirs)] == [200, 404]
    finally:
        server.end()
