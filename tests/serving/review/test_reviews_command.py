"""`ricefish reviews export`: a server's verdicts in the file that retraining reads, or nothing in its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ricefish.cli.app import app
from ricefish.client import RicefishError
from tests.e2e.test_client_downloads import answering
from tests.serving.conftest import Example
from tests.serving.running import RunningServer
from training.quality.reviews import Reviewable, read_reviews

HEAD = (
    "volume,slice_index,verdict,organ,mask_sha256,reviewer,ending,time,comment,axis,scan,model,version,model_sha256,id"
)


def export(*words: str) -> tuple[int, str]:
    ended = CliRunner().invoke(app, ["reviews", "export", *words])
    return ended.exit_code, ended.stdout + ended.stderr


def test_a_file_is_written_and_replaced_when_it_is_meant(
    server: RunningServer, example: Example, tmp_path: Path
) -> None:
    """With the verdicts that were asked for; one that is there stays without --force."""
    scan_id = server.post(example.path, "fish_7.nii.gz").json()["id"]
    server.until_ended(scan_id)
    offered = server.get("/v1/reviews/next").json()
    said = {name: offered[name] for name in ("scan", "slice_index", "mask_sha256")}
    server.http.post(f"{server.url}/v1/reviews", json={**said, "verdict": "bad"}).raise_for_status()
    out = tmp_path / "reviews.csv"
    words = ("-o", str(out), "--server", server.url, "--scan", offered["scan"])
    assert export(*words, "--verdict", "good") == (0, f"{out} is written.\n")
    assert out.read_text() == f"{HEAD}\n"
    status, told = export(*words)
    assert status == 1 and told.startswith(f"ricefish: {out} exists; --force replaces it")
    status, told = export(*words, "--force", "--json")
    assert (status, json.loads(told)) == (0, {"output": str(out), "reviews": 1})
    assert export(*words, "--force", "--since", "2026-01-01", "--reviewer", "anonymous")[0] == 0
    (review,) = read_reviews(out, Reviewable({offered["volume"]: 11}))
    assert (review.slice_index, review.good, review.mask_sha256) == (said["slice_index"], False, said["mask_sha256"])
    assert list(tmp_path.iterdir()) == [out]


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """And no file."""
    status, told = export("-o", str(tmp_path / "reviews.csv"), "--server", "http://127.0.0.1:9")
    assert (status, told.count("\n")) == (1, 1) and told.startswith("ricefish: no answer from http://127.0.0.1:9")
    assert list(tmp_path.iterdir()) == []


def test_what_breaks_off_replaces_nothing(tmp_path: Path) -> None:
    """A transfer that ends before its end is no list of all verdicts."""
    out = tmp_path / "reviews.csv"
    out.write_text("before")
    with answering(f"{HEAD}\nfish,1,good\n".encode(), length=10_000) as client, pytest.raises(RicefishError):
        client.reviews.export(out)
    assert out.read_text() == "before" and list(tmp_path.iterdir()) == [out]
