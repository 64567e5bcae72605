"""A batch whose server goes away for good, or asks to be left alone."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from ricefish.cli.batch import BatchItem, BatchOptions, Outcome, ScanBatch, Watcher
from ricefish.cli.batch_state import BatchState
from ricefish.client import Client
from tests.e2e.batch.small_scans import read, segmentation, write_scan
from tests.serving.running import RunningServer


@pytest.fixture
def waiting(tmp_path: Path, model: Path, processes: None) -> Iterator[RunningServer]:
    """A server that segments nothing."""
    running = RunningServer(tmp_path / "waiting", model, concurrent_scans=0)
    yield running.start()
    running.end()


def items(folder: Path, count: int) -> list[BatchItem]:
    paths = [write_scan(folder / f"fish_{number}.nii", number) for number in range(count)]
    return [BatchItem(path, folder / "out" / f"{path.stem}.nii.gz") for path in paths]


def test_what_was_not_begun_when_the_server_went_away_is_not_tried(waiting: RunningServer, tmp_path: Path) -> None:
    """Those under way are given up once patience is over, and the others at once, each by name."""
    with Client(waiting.url, patience_seconds=1.0) as client:
        batch = ScanBatch(client, BatchOptions(), model="m", state=BatchState("t"), watcher=Watcher())
        outcomes: list[Outcome] = []
        thread = threading.Thread(target=lambda: outcomes.extend(batch.run(items(tmp_path, 6), jobs=2)))
        thread.start()
        waiting.until(lambda: len(waiting.get("/v1/scans").json()["scans"]) == 2)
        waiting.end(signal.SIGKILL)
        thread.join(60)
    assert [outcome.ending for outcome in outcomes] == ["failed"] * 6
    under_way = [outcome for outcome in outcomes if "no answer from" in (outcome.error or "")]
    not_begun = [outcome for outcome in outcomes if "not begun, as the server no longer" in (outcome.error or "")]
    assert outcomes[0] in under_way and outcomes[-1] in not_begun
    assert len(under_way) + len(not_begun) == 6


def test_answers_that_may_pass_are_asked_for_again(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call of a batch is first answered with 503, or not at all, and none fails for it."""
    refused: dict[tuple[str, str], int] = {}
    send = httpx.Client.send

    def unwilling(self: httpx.Client, request: httpx.Request, **options: object) -> httpx.Response:
        call = (request.method, request.url.path)
        refused[call] = refused.get(call, 0) + 1
        if refused[call] == 1:
            if len(refused) % 2:
                return httpx.Response(503, headers={"Retry-After": "0"}, request=request)
            raise httpx.ReadError("cut off", request=request)
        return send(self, request, **options)  # type: ignore[arg-type]

    with Client(server.url, patience_seconds=20.0) as client:
        batch = ScanBatch(client, BatchOptions(organs=True), model="m", state=BatchState("t"), watcher=Watcher())
        monkeypatch.setattr(httpx.Client, "send", unwilling)
        (outcome,) = batch.run(items(tmp_path, 1), jobs=1)
    assert (outcome.ending, outcome.error) == ("done", None)
    assert {call[1].rpartition("/")[2] for call in refused} >= {"scans", "segmentation", "labels", "organs"}
    assert outcome.item.out.is_file() and len(outcome.organs) == 2


def test_a_result_that_is_damaged_on_the_server_is_waited_for(server: RunningServer, tmp_path: Path) -> None:
    """It is made again, and fetched; the scan is not sent again."""
    posted = server.post(write_scan(tmp_path / "fish_0.nii", 77), "fish_0.nii").json()["id"]
    server.until_ended(posted)
    (server.store / "scans" / posted / "segmentation.ome.zarr/0/c/0/0/0").unlink()
    path = tmp_path / "fish_0.nii"
    with Client(server.url) as client:
        batch = ScanBatch(client, BatchOptions(), model="m", state=BatchState("t"), watcher=Watcher())
        (outcome,) = batch.run([BatchItem(path, tmp_path / "out" / "fish_0.nii.gz")], jobs=1)
    assert (outcome.ending, outcome.error, outcome.scan and outcome.scan.id) == ("done", None, posted)
    np.testing.assert_array_equal(read(tmp_path / "out" / "fish_0.nii.gz"), segmentation(77))


def test_a_scan_that_failed_for_good_says_how_it_is_sent_anew(waiting: RunningServer, tmp_path: Path) -> None:
    """Its file is gone from the store: tried again it fails again, and deleted it is a new one."""
    with Client(waiting.url) as client:
        batch = ScanBatch(client, BatchOptions(), model="m", state=BatchState("t"), watcher=Watcher())
        outcomes: list[Outcome] = []
        todo = items(tmp_path, 1)
        thread = threading.Thread(target=lambda: outcomes.extend(batch.run(todo, jobs=1)))
        thread.start()
        waiting.until(lambda: len(waiting.get("/v1/scans").json()["scans"]) == 1)
        (lost,) = (waiting.store / "scans").iterdir()
        waiting.end()
        shutil.move(lost, tmp_path / "lost")
        waiting.set(concurrent_scans=1, attempts=1)
        waiting.start(same_port=True)
        thread.join(60)
        assert outcomes[0].ending == "failed"
        assert f"`ricefish scans delete {lost.name}` has it sent anew the next time" in str(outcomes[0].error)
        (again,) = batch.run(todo, jobs=1)
        assert again.ending == "failed"
        client.delete(lost.name)
        (new,) = batch.run(todo, jobs=1)
    assert (new.ending, new.scan is not None and new.scan.id != lost.name) == ("done", True)


def test_dicom_of_what_is_no_dicom_is_refused_before_it_is_sent(waiting: RunningServer, tmp_path: Path) -> None:
    """As of a single scan: the server never hears of it."""
    path = write_scan(tmp_path / "fish.nii", 1)
    with Client(waiting.url, patience_seconds=1.0) as client:
        batch = ScanBatch(client, BatchOptions(), model="m", state=BatchState("t"), watcher=Watcher())
        (outcome,) = batch.run([BatchItem(path, tmp_path / "organs.dcm")], jobs=1)
    assert "a DICOM segmentation refers to the DICOM series that it is of, and fish.nii is none" in (
        outcome.error or ""
    )
    assert waiting.get("/v1/scans").json()["scans"] == []
