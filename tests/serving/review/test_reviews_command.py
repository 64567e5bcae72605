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
    "volume,slice_index,verdict,organ,mask_sha256,reviewer,ending,time,comment,axis,scan,model,version,model_sha256,id,"
    "organs"
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
    assert export(*words, "--verdict", "good") == (0, f"{out} is written, with 0 masks in {out.parent}/reviews.\n")
    assert out.read_text() == f"{HEAD}\n"
    status, told = export(*words)
    assert status == 1 and told.startswith(f"ricefish: {out} exists; --force replaces it")
    status, told = export(*words, "--force", "--json")
    assert (status, json.loads(told)) == (0, {"output": str(out), "reviews": 1, "masks": 1, "masks_not_kept": 0})
    assert export(*words, "--force", "--since", "2026-01-01", "--reviewer", "anonymous")[0] == 0
    (review,) = read_reviews(out, Reviewable({offered["volume"]: 11}))
    assert (review.slice_index, review.good, review.mask_sha256) == (said["slice_index"], False, said["mask_sha256"])
    assert sorted(tmp_path.rglob("*")) == [
        *(out.with_suffix(""), tmp_path / "reviews" / f"{said['mask_sha256']}.png", out)
    ]


def test_an_export_goes_on_where_it_was_cut_off(server: RunningServer, example: Example, tmp_path: Path) -> None:
    """Of two masks one is there and right, one was damaged since: the first is left alone, the other fetched anew; a
    third, of a verdict that teaches nothing, never."""
    scan_id = server.post(example.path, "fish_8.nii.gz").json()["id"]
    server.until_ended(scan_id)
    digests = []
    for verdict in ("good", "bad", "unsure"):
        offered = next(o for o in iter(lambda: server.get("/v1/reviews/next").json(), None) if o["scan"] == scan_id)
        said = {name: offered[name] for name in ("scan", "slice_index", "mask_sha256")}
        server.http.post(f"{server.url}/v1/reviews", json={**said, "verdict": verdict}).raise_for_status()
        digests.append(offered["mask_sha256"])
    words = ("-o", str(tmp_path / "reviews.csv"), "--server", server.url, "--scan", scan_id, "--force")
    assert export(*words)[0] == 0
    right, damaged, never = (tmp_path / "reviews" / f"{digest}.png" for digest in digests)
    content, written = damaged.read_bytes(), right.stat().st_mtime_ns
    damaged.write_bytes(content[:20])
    assert not never.exists() and export(*words)[0] == 0
    assert (damaged.read_bytes(), right.stat().st_mtime_ns) == (content, written)


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
