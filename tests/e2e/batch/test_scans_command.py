"""`ricefish scans`: what a server has, looked at, ended, tried again, removed and fetched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from ricefish.cli.app import app
from ricefish.client import Client, RicefishError
from tests.e2e.batch.small_scans import read, segmentation, write_scan
from tests.serving.running import RunningServer

ALL = range(5)


@pytest.fixture(scope="module")
def ids(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Five scans that have succeeded, the newest last."""
    folder = tmp_path_factory.mktemp("scans")
    posted = [server.post(write_scan(folder / f"fish_{n}.nii", n), f"fish_{n}.nii").json()["id"] for n in ALL]
    for scan_id in posted:
        server.until_ended(scan_id)
    return posted


@pytest.fixture
def waiting(tmp_path: Path, model: Path, processes: None) -> Iterator[RunningServer]:
    """A server that segments nothing."""
    running = RunningServer(tmp_path / "waiting", model, concurrent_scans=0)
    yield running.start()
    running.end()


def scans(server: RunningServer | str, *words: object) -> Result:
    url = server if isinstance(server, str) else server.url
    return CliRunner().invoke(app, ["scans", *map(str, words), "--server", url])


def post(server: RunningServer, folder: Path, *numbers: int) -> list[str]:
    paths = [write_scan(folder / f"fish_{number}.nii", number) for number in numbers]
    return [server.post(path, path.name).json()["id"] for path in paths]


def test_all_scans_are_listed_page_by_page(
    server: RunningServer, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest first, each once, however few a page has; JSON is what the server says."""
    monkeypatch.setattr("ricefish.client.client._PAGE", 2)
    told = json.loads(scans(server, "list", "--json").stdout)
    assert [scan["id"] for scan in told] == ids[::-1]
    assert told[0] == server.get(f"/v1/scans/{ids[-1]}").json()
    lines = scans(server, "list", "--limit", "3").stdout.splitlines()
    rows = [line for line in lines if "fish_" in line]
    assert [row.split()[1] for row in rows] == ids[:1:-1]
    assert all(f"fish_{number}.nii" in row and "8 of 8" in row for number, row in zip((4, 3, 2), rows, strict=True))


def test_lists_are_of_a_state_and_of_what_is_flagged(waiting: RunningServer, tmp_path: Path) -> None:
    """Each filter is the server's; a state that there is not is a mistake in the command."""
    first, second = post(waiting, tmp_path, 1, 2)
    assert scans(waiting, "cancel", first).exit_code == 0

    def listed(*words: str) -> list[str]:
        return [scan["id"] for scan in json.loads(scans(waiting, "list", "--json", *words).stdout)]

    assert (listed("--state", "queued"), listed("--state", "cancelled"), listed("--state", "failed")) == (
        [second],
        [first],
        [],
    )
    flagged = {scan["id"] for scan in waiting.get("/v1/scans?flagged=true").json()["scans"]}
    assert set(listed("--flagged")) == flagged and set(listed("--not-flagged")) == {first, second} - flagged
    assert scans(waiting, "list", "--state", "lost").exit_code == 2


def test_one_scan_is_shown_with_its_organs(server: RunningServer, ids: list[str]) -> None:
    """State, file, model, spacing; JSON is the server's answer."""
    ended = scans(server, "show", ids[0])
    assert ended.exit_code == 0
    for said in (ids[0], "fish_0.nii", "succeeded", "8 of 8", "thresholds", "0.01, 0.01, 0.01", "heart", "eye"):
        assert said in ended.stdout
    assert json.loads(scans(server, "show", ids[0], "--json").stdout) == server.get(f"/v1/scans/{ids[0]}").json()


def test_scans_are_cancelled_tried_again_and_removed(waiting: RunningServer, tmp_path: Path) -> None:
    """Several at once; one that cannot be is named with the reason, stops no other, and makes the status 1."""
    first, second = post(waiting, tmp_path, 1, 2)
    ended = scans(waiting, "cancel", first, second)
    assert (ended.exit_code, ended.stdout) == (0, f"{first} cancelled\n{second} cancelled\n")
    ended = scans(waiting, "cancel", "none", first)
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert ended.stderr.splitlines()[0] == "ricefish: none: no scan 'none'; it may have been deleted"
    assert f"scan {first} is cancelled: only queued or running scans can be cancelled" in ended.stderr
    told = json.loads(scans(waiting, "retry", first, "none", "--json").stdout)
    assert told[0] == {"scan": first, "error": None, "state": "queued"}
    assert (told[1]["scan"], "no scan 'none'" in told[1]["error"]) == ("none", True)
    assert waiting.get(f"/v1/scans/{first}").json()["state"] == "queued"
    ended = scans(waiting, "delete", first, "none", second)
    assert (ended.exit_code, ended.stdout) == (1, f"{first} removed\n{second} removed\n")
    assert waiting.get("/v1/scans").json()["scans"] == []


def test_segmentations_are_fetched_under_the_names_of_their_scans(
    server: RunningServer, ids: list[str], tmp_path: Path
) -> None:
    """Into a folder that is made, or into a file; what is there is left, unless --force says otherwise."""
    out = tmp_path / "organs"
    ended = scans(server, "download", ids[0], ids[1], "-o", out)
    assert (ended.exit_code, ended.stdout.split()[1::2]) == (0, [f"{out}/fish_0.nii.gz", f"{out}/fish_1.nii.gz"])
    np.testing.assert_array_equal(read(out / "fish_1.nii.gz"), segmentation(1))
    assert (out / "fish_1_labels.txt").is_file()
    ended = scans(server, "download", ids[1], ids[2], "-o", out)
    assert (ended.exit_code, ended.stdout) == (1, f"{ids[2]} {out}/fish_2.nii.gz\n")
    assert "fish_1.nii.gz exists; --force replaces it" in ended.stderr
    assert scans(server, "download", ids[1], "-o", out, "--force").exit_code == 0
    assert scans(server, "download", ids[3], "-o", tmp_path / "one.seg.nrrd").exit_code == 0
    told = json.loads(scans(server, "download", ids[4], "-o", out, "--with-scan", "--json").stdout)
    assert told == [{"scan": ids[4], "error": None, "output": f"{out}/fish_4.ome.zarr"}]
    assert (out / "fish_4.ome.zarr/labels/segmentation/zarr.json").is_file()
    assert scans(server, "download", ids[4], "-o", out, "--format", "tif").exit_code == 0
    assert {path.name for path in out.iterdir()} == {
        *(f"fish_{number}{ending}" for number in range(3) for ending in (".nii.gz", "_labels.txt")),
        *("fish_4.ome.zarr", "fish_4.tif"),
    }


def test_what_cannot_be_fetched_is_told(
    server: RunningServer, waiting: RunningServer, ids: list[str], tmp_path: Path
) -> None:
    """A file for several scans, a format that there is not, a scan that waits, one of the same name as another."""
    for words, message in (
        ((*ids[:2], "-o", tmp_path / "a.tif"), "names one file, and there are 2 scans"),
        ((ids[0], "-o", tmp_path / "a.tif", "--format", "tif"), "--format is for segmentations that go into a folder"),
        ((ids[0], "-o", tmp_path, "--format", "docx"), "--format is 'docx'; it is one of nii.gz"),
        ((ids[0], "-o", tmp_path / "a.docx.zip"), "a segmentation is fetched as one of"),
    ):
        ended = scans(server, "download", *words)
        assert (ended.exit_code, message in ended.stderr, ended.stdout) == (1, True, "")
    (queued,) = post(waiting, tmp_path, 1)
    assert "the scan is queued: only what has succeeded" in scans(waiting, "download", queued, "-o", tmp_path).stderr
    again = server.post(tmp_path / "fish_1.nii", "fish_1.nii").json()["id"]
    server.until_ended(again)
    ended = scans(server, "download", ids[1], again, "-o", tmp_path / "both")
    assert (ended.exit_code, "is that of another of these scans" in ended.stderr) == (1, True)
    server.delete(f"/v1/scans/{again}").raise_for_status()


def test_a_server_that_is_not_there_is_told_once() -> None:
    """Status 1; of several scans, the others are not tried."""
    ended = scans("http://127.0.0.1:9", "list")
    assert (ended.exit_code, "no answer from http://127.0.0.1:9" in ended.stderr) == (1, True)
    ended = scans("http://127.0.0.1:9", "delete", "a", "b")
    assert ended.exit_code == 1
    assert ended.stderr.splitlines()[1] == "ricefish: b: not tried, as the server does not answer"


def test_the_client_cancels_tries_again_and_finds_by_key(waiting: RunningServer, tmp_path: Path) -> None:
    """What has ended cannot be cancelled: RicefishError with the server's word for it."""
    path = write_scan(tmp_path / "fish.nii", 1)
    with Client(waiting.url) as client:
        assert client.find("k") is None
        scan = client.submit(path, key="k")
        assert client.submit(path, key="k").id == scan.id
        assert client.find("k") == scan
        assert [found.id for found in client.scans(state="queued")] == [scan.id]
        assert client.cancel(scan.id).state == "cancelled"
        with pytest.raises(RicefishError) as refused:
            client.cancel(scan.id)
        assert (refused.value.status, refused.value.problem) == (409, "wrong-state")
        assert client.retry(scan.id).state == "queued"
        with pytest.raises(RicefishError, match="arrived") as refused:
            client.submit(path, sha256="0" * 64, fresh=True)
        assert refused.value.problem == "digest-mismatch"
        assert client.model_identity().startswith("thresholds  ")


def test_a_list_by_key_knows_keys_that_can_be_and_no_others(server: RunningServer) -> None:
    """400 that names the parameter for a key that no post can have."""
    assert server.get("/v1/scans?idempotency_key=never").json() == {"scans": []}
    for wrong in ("", "a" * 256, "%00"):
        answer = server.get(f"/v1/scans?idempotency_key={wrong}")
        assert (answer.status_code, answer.json()["field"]) == (400, "idempotency_key")
