"""Hundreds of scans with one command that is killed, and begun again: each is segmented once, no result is missing."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.batch.small_scans import read, run, segmentation, start, write_scan
from tests.serving.running import RunningServer

SCANS, JOBS = 200, 8


def _results(out: Path) -> list[Path]:
    return sorted(out.rglob("*.nii.gz"))


def _listed(server: RunningServer) -> list[dict[str, object]]:
    scans: list[dict[str, object]] = server.get("/v1/scans?limit=1000").json()["scans"]
    return scans


@pytest.mark.slow
def test_a_batch_that_is_killed_goes_on_where_it_was(server: RunningServer, tmp_path: Path) -> None:
    """SIGKILL when half of 200 results are there. Of the second command the summary is right: what was there is left as
    it was, the others are done; every scan is on the server once, and nothing that was finished was sent again.
    """
    places = [Path(f"day_{number % 3}") / f"fish_{number}" for number in range(SCANS)]
    for number, place in enumerate(places):
        write_scan(tmp_path / "scans" / f"{place}.nii.gz", number)
    out = tmp_path / "organs"
    command = ("segment", tmp_path / "scans", "-o", out, "--server", server.url, "--jobs", JOBS)
    first = start(*command)
    server.until(lambda: len(_results(out)) >= SCANS // 2)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    there = {path: path.stat().st_mtime_ns for path in _results(out)}
    assert SCANS // 2 <= len(there) < SCANS
    status, said, complained = run(*command, "--json")
    assert status == 0, complained
    summary = json.loads(said)
    assert (summary["done"], summary["already_there"], summary["failed"]) == (SCANS - len(there), len(there), 0)
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert _results(out) == sorted(out / f"{place}.nii.gz" for place in places)
    for number, place in enumerate(places):
        np.testing.assert_array_equal(read(out / f"{place}.nii.gz"), segmentation(number))
        assert (out / f"{place}_labels.txt").is_file()
    assert not list(out.rglob(".*")), "something is left of the command that was killed"
    scans = _listed(server)
    assert set(Counter(scan["sha256"] for scan in scans).values()) == {1}
    assert (len(scans), {scan["state"] for scan in scans}) == (SCANS, {"succeeded"})
    assert server.log.count("event=upload_received") <= SCANS + JOBS
    assert all(len(server.slabs_logged(str(scan["id"]))) == 1 for scan in scans)
