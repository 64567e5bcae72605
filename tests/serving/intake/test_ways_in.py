"""Every way in: form, checksum, source, limits, a full disk, the same file again."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest

from tests.serving.running import RunningServer


def nifti(seed: int, shape: tuple[int, int, int] = (6, 20, 10)) -> bytes:
    grey = np.random.default_rng(seed).integers(0, 999, shape).astype(np.int16)
    return bytes(nib.Nifti1Image(grey.T, np.eye(4)).to_bytes())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("instrument")
    (folder / "day 1").mkdir()
    (folder / "day 1" / "fish.nii").write_bytes(nifti(1))
    return folder


@pytest.fixture(scope="module")
def own_server(
    tmp_path_factory: pytest.TempPathFactory, model_dir: Path, root: Path, processes: None
) -> Iterator[RunningServer]:
    running = RunningServer(
        tmp_path_factory.mktemp("ways"),
        model_dir,
        slab_slices=4,
        source_roots=f'["{root}"]',
        upload_limit_bytes=1_000_000,
    )
    yield running.start()
    running.end()


def fetch(server: RunningServer, uri: str, **more: object) -> httpx.Response:
    return server.http.post(f"{server.url}/v1/scans", json={"source": {"uri": uri}, "fresh": True, **more})


def in_pieces(content: bytes, size: int) -> Iterator[bytes]:
    """Sent without a Content-Length."""
    return (content[n : n + size] for n in range(0, len(content), size))


def nothing_left(server: RunningServer) -> bool:
    return not any(server.incoming.iterdir())


def test_a_form_is_taken(own_server: RunningServer) -> None:
    """The part with a filename is the scan; fields say the rest, wherever they stand."""
    content = nifti(2)
    answer = own_server.http.post(
        f"{own_server.url}/v1/scans",
        data={"spacing": "1,1,1", "priority": "interactive", "sha256": hashlib.sha256(content).hexdigest()},
        files={"scan": ("fish 2.nii", content)},
    )
    assert answer.status_code == 202, answer.text
    scan = answer.json()
    assert (scan["filename"], scan["priority"]) == ("fish 2.nii", "interactive")
    assert scan["sha256"] == hashlib.sha256(content).hexdigest()
    assert own_server.until_ended(scan["id"])["state"] == "succeeded"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"data": {"spacing": "1,1,1"}, "files": {"empty": (None, "x")}}, "holds no file"),
        ({"files": [("a", ("a.nii", b"x")), ("b", ("b.nii", b"x"))]}, "several files"),
        ({"data": {"colour": "red"}, "files": {"a": ("a.nii", nifti(3))}}, "'colour' is unknown"),
        ({"data": {"sha256": "0" * 64}, "files": {"a": ("a.nii", nifti(3))}}, "the sender says"),
        ({"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, "closing boundary"),
        ({"content": b"nothing", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, "cannot be read"),
        ({"content": b"", "headers": {"Content-Type": "multipart/form-data"}}, "boundary"),
    ],
)
def test_a_form_that_makes_no_sense_is_refused(own_server: RunningServer, parts: dict[str, object], said: str) -> None:
    """400, what is wrong, and nothing left."""
    answer = own_server.http.post(f"{own_server.url}/v1/scans", **parts)  # type: ignore[arg-type]
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["detail"]
    assert nothing_left(own_server)


def test_a_digest_is_checked(own_server: RunningServer) -> None:
    """In the header or in the query: the right one passes, a wrong one is named, an unreadable one refused."""
    content = nifti(4)
    right, wrong = hashlib.sha256(content), hashlib.sha256(b"other")
    encoded = {n: base64.b64encode(digest.digest()).decode() for n, digest in (("right", right), ("wrong", wrong))}
    cases = [
        ({"Content-Digest": f"md5=:AAAA:, sha-256=:{encoded['right']}:"}, {}, 202),
        ({"Repr-Digest": f"sha-256=:{encoded['wrong']}:"}, {}, 400),
        ({"Content-Digest": "sha-256=:AAAA:"}, {}, 400),
        ({}, {"sha256": right.hexdigest().upper()}, 202),
        ({}, {"sha256": wrong.hexdigest()}, 400),
    ]
    for headers, query, status in cases:
        answer = own_server.http.post(
            f"{own_server.url}/v1/scans",
            content=content,
            params={"filename": "a.nii", "fresh": "true", **query},
            headers=headers,
        )
        assert answer.status_code == status, (headers, query, answer.text)
    assert right.hexdigest() in answer.json()["detail"] and wrong.hexdigest() in answer.json()["detail"]
    assert nothing_left(own_server)


def test_a_file_under_a_root_is_fetched(own_server: RunningServer, root: Path) -> None:
    """Named by its address; the original stays where it is."""
    answer = fetch(own_server, f"{root.as_uri()}/day%201/fish.nii")
    assert answer.status_code == 202, answer.text
    assert answer.json()["sha256"] == hashlib.sha256(nifti(1)).hexdigest()
    assert own_server.until_ended(answer.json()["id"])["state"] == "succeeded"
    assert (root / "day 1" / "fish.nii").exists()


def test_a_folder_under_a_root_is_fetched(own_server: RunningServer, root: Path) -> None:
    """A TIFF series: its files together are the scan."""
    import tifffile

    folder = root / "series"
    folder.mkdir()
    for number in range(4):
        tifffile.imwrite(folder / f"{number:03}.tif", np.full((8, 9), number * 50, np.uint8))
    answer = fetch(own_server, folder.as_uri(), spacing="1,1,1")
    assert (answer.status_code, answer.json().get("shape")) == (202, [4, 8, 9]), answer.text
    assert own_server.until_ended(answer.json()["id"])["state"] == "succeeded"


def test_what_leads_elsewhere_is_refused_in_the_same_words(
    own_server: RunningServer, root: Path, tmp_path: Path
) -> None:
    """Traversal, links out, other schemes and hosts, devices: 403, and no telling whether a file is there."""
    (tmp_path / "secret.nii").write_bytes(nifti(5))
    (root / "link.nii").symlink_to(tmp_path / "secret.nii")
    (root / "way").symlink_to(tmp_path)
    (root / "linked").mkdir(exist_ok=True)
    (root / "linked" / "a.nii").symlink_to(tmp_path / "secret.nii")
    os.mkfifo(root / "pipe.nii")
    base = root.as_uri()
    outside = tmp_path.as_uri()
    uris = [
        f"{outside}/secret.nii", f"{outside}/not-there.nii", f"{base}/../{tmp_path.name}/secret.nii",
        f"{base}/%2e%2e/{tmp_path.name}/secret.nii", f"{base}/link.nii", f"{base}/way/secret.nii", f"{base}/linked",
        f"{base}/pipe.nii", base, f"{base}/not-there.nii", f"{base}/day%201/fish.nii%00.txt",
        f"file://elsewhere{root}/day%201/fish.nii", "http://127.0.0.1/fish.nii", "ftp://127.0.0.1/x", "gs://b/k",
        "data:,hello", "s3://bucket/key", "/etc/passwd", "", "file:///dev/zero", "file:///etc/passwd",
    ]  # fmt: skip
    answers = [fetch(own_server, uri) for uri in uris]
    assert [answer.status_code for answer in answers] == [403] * len(uris)
    words = {answer.json()["detail"].replace(repr(uri), "URI") for answer, uri in zip(answers, uris, strict=True)}
    assert len(words) == 1
    assert nothing_left(own_server)


def test_a_header_that_is_named_has_its_voxels_with_it(own_server: RunningServer, root: Path, tmp_path: Path) -> None:
    """The file beside it that it names, and nothing else; one that is a link is not followed."""
    fields = "NDims = 3\nDimSize = 10 20 5\nElementType = MET_UCHAR\nElementSpacing = 1 1 1\n"
    (root / "split").mkdir()
    for name in ("fish", "link"):
        (root / f"split/{name}.mhd").write_text(f"ObjectType = Image\n{fields}ElementDataFile = {name}.raw\n")
    (root / "split/fish.raw").write_bytes(bytes(range(250)) * 4)
    (tmp_path / "secret").write_bytes(bytes(1000))
    (root / "split/link.raw").symlink_to(tmp_path / "secret")
    answer = fetch(own_server, f"file://{root}/split/fish.mhd")
    assert (answer.status_code, answer.json()["shape"]) == (202, [5, 20, 10]), answer.text
    assert own_server.until_ended(answer.json()["id"])["state"] == "succeeded"
    answer = fetch(own_server, f"file://{root}/split/link.mhd")
    assert (answer.status_code, "'link.raw', which is not beside it" in answer.json()["detail"]) == (422, True)
    assert nothing_left(own_server)


@pytest.mark.parametrize(
    "body", [b"{}", b"not json", b'{"source": {}}', b'{"source": {"uri": "a", "upload": "b"}}', b'{"source": 7}']
)
def test_json_that_makes_no_sense_is_refused(own_server: RunningServer, body: bytes) -> None:
    """400 that names the field."""
    answer = own_server.http.post(
        f"{own_server.url}/v1/scans", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400 and answer.json()["field"]


def test_a_scan_beyond_the_limit_is_refused(own_server: RunningServer) -> None:
    """By its Content-Length, by what arrives without one, and by what it would be unpacked."""
    import gzip

    large = nifti(6, (40, 120, 120))
    assert own_server.post(large, "a.nii").status_code == 413
    streamed = own_server.http.post(
        f"{own_server.url}/v1/scans",
        params={"filename": "a.nii"},
        content=in_pieces(large, 9999),
    )
    assert streamed.status_code == 413
    packed = gzip.compress(bytes(nib.Nifti1Image(np.zeros((120, 120, 40), np.int16), np.eye(4)).to_bytes()))
    answer = own_server.post(packed, "a.nii.gz")
    assert answer.status_code == 413 and "1000000" in answer.json()["detail"]
    assert nothing_left(own_server)


def test_the_same_file_is_segmented_once(own_server: RunningServer) -> None:
    """The stored scan comes back, with 200 once it is finished, unless a fresh one is asked for."""
    content = nifti(7)
    first = own_server.post(content, "a.nii", fresh="false")
    assert first.status_code == 202
    own_server.until_ended(first.json()["id"])
    again = own_server.post(content, "b.nii", fresh="false", key="k7")
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    other_spacing = own_server.post(content, "a.nii", fresh="false", spacing="1,1,1.005")
    assert other_spacing.json()["id"] != first.json()["id"]
    fresh = own_server.post(content, "a.nii")
    assert fresh.json()["id"] != first.json()["id"]
    clash = own_server.post(nifti(8), "a.nii", fresh="false", key="k7")
    assert clash.status_code == 409, "the key stands for the stored scan"


def test_scans_can_be_cancelled_and_tried_again(own_server: RunningServer) -> None:
    """A finished one cannot be cancelled, a removed one neither; the list can be asked by state and page."""
    scan_id = own_server.post(nifti(9), "a.nii").json()["id"]
    own_server.until_ended(scan_id)
    refused = own_server.http.post(f"{own_server.url}/v1/scans/{scan_id}/cancel")
    assert refused.status_code == 409 and "succeeded" in refused.json()["detail"]
    assert own_server.http.post(f"{own_server.url}/v1/scans/{'0' * 32}/cancel").status_code == 404
    page = own_server.get("/v1/scans?limit=1").json()["scans"]
    assert page[0]["id"] == scan_id
    following = own_server.get(f"/v1/scans?limit=1000&before={scan_id}").json()["scans"]
    assert scan_id not in [scan["id"] for scan in following]
    assert own_server.get("/v1/scans?state=failed").json()["scans"] == []


def test_events_tell_the_whole_story(own_server: RunningServer) -> None:
    """The stream ends with the scan; a scan that is not there has none."""
    scan_id = own_server.post(nifti(10), "a.nii").json()["id"]
    told = own_server.get(f"/v1/scans/{scan_id}/events").text
    events = [line.partition(": ")[2] for line in told.splitlines() if line.startswith("event:")]
    assert events[-1] == "succeeded" and set(events) <= {"queued", "running", "succeeded"}
    assert own_server.get(f"/v1/scans/{'0' * 32}/events").status_code == 404


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.process
def test_a_full_disk_loses_nothing(small_disk: Path, model_dir: Path) -> None:
    """507 before and in the middle of an upload; what was accepted stays, and later there is room again."""
    server = RunningServer(small_disk, model_dir, slab_slices=4).start()
    kept = server.post(nifti(1), "a.nii").json()["id"]
    server.until_ended(kept)
    large = nifti(2, (80, 400, 400))
    announced = server.post(large, "large.nii")
    streamed = server.http.post(
        f"{server.url}/v1/scans",
        params={"filename": "b.nii"},
        content=in_pieces(large + large, 99999),
    )
    with contextlib.suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
        while ballast.write(bytes(1 << 16)):
            pass
    middle = server.post(nifti(3, (30, 200, 200)), "c.nii")
    (small_disk / "ballast").unlink()
    assert [announced.status_code, streamed.status_code, middle.status_code] == [507, 507, 507]
    assert nothing_left(server)
    assert server.get(f"/v1/scans/{kept}/segmentation").status_code == 200
    after = server.post(nifti(3), "a.nii")
    assert server.until_ended(after.json()["id"])["state"] == "succeeded"
    assert server.end() == 0
