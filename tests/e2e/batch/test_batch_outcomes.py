"""Many scans with one command: what becomes of each, on standard output and in the exit status."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from scans.formats import open_volume
from scans.formats.label_names import itk_snap_labels
from scans.organs import OrganMap
from tests.e2e.batch.small_scans import grey, read, run, segmentation, start, write_scan
from tests.serving.running import RunningServer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three scans that no other test has."""
    first = int.from_bytes(tmp_path.name.encode(), "little")
    for number in range(3):
        write_scan(tmp_path / "scans" / f"fish_{number}.nii.gz", first + number)
    return tmp_path / "scans"


@pytest.fixture
def waiting(tmp_path: Path, model: Path, processes: None) -> Iterator[RunningServer]:
    """A server that accepts scans and segments none until it is started again."""
    running = RunningServer(tmp_path / "waiting", model, concurrent_scans=0)
    yield running.start()
    running.end()


def batch(server: RunningServer, *words: object) -> tuple[int, dict[str, Any], str]:
    status, said, complained = run("segment", *words, "--server", server.url, "--json")
    return status, json.loads(said), complained


def scans(server: RunningServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.get("/v1/scans?limit=1000").json()["scans"]
    return found


def test_a_bad_file_stops_no_other_and_is_named_with_the_reason(server: RunningServer, folder: Path) -> None:
    """Status 1; a table of what failed and one of how many did what; on a pipe, a line for each on standard error."""
    (folder / "bad.nii.gz").write_bytes(b"Dear Sir or Madam, " * 50)
    (folder / "void.nrrd").write_bytes(b"")
    out = folder.parent / "organs"
    status, said, complained = run("segment", folder, "-o", out, "--server", server.url)
    assert status == 1
    lines = [" ".join(line.replace("│", " ").split()) for line in said.splitlines()]
    assert any(line.startswith(f"{folder}/bad.nii.gz bad.nii.gz: an unknown format") for line in lines)
    assert any(line.startswith(f"{folder}/void.nrrd void.nrrd: the body is empty") for line in lines)
    assert {"done 3 24", "there already 0", "failed 2"} <= set(lines)
    assert sorted(path.name for path in out.glob("*.gz")) == [f"fish_{number}.nii.gz" for number in range(3)]
    assert complained.count(": done") == 3 and complained.count(": failed: ") == 2
    assert "5 of 5 " in complained


def test_json_says_what_became_of_each_scan(server: RunningServer, folder: Path) -> None:
    """The same for machines: the scan on the server, its organs, the reason; folders that hold no scan among them."""
    (folder / "bad.nii").write_bytes(b"no scan at all" * 50)
    (folder.parent / "none").mkdir()
    status, told, _ = batch(server, folder, folder.parent / "none", "-o", folder.parent / "organs")
    assert (status, told["done"], told["already_there"], told["failed"]) == (1, 3, 0, 2)
    bad, first, *_, empty = told["scans"]
    assert (bad["outcome"], bad["output"], bad["scan"]) == ("failed", None, None)
    assert "bad.nii: an unknown format" in bad["error"]
    assert (empty["input"], empty["outcome"]) == (str(folder.parent / "none"), "failed")
    assert first["output"] == str(folder.parent / "organs" / "fish_0.nii.gz")
    assert (first["slices"], first["error"], [organ["name"] for organ in first["organs"]]) == (
        8,
        None,
        ["heart", "eye"],
    )
    assert "bad.nii" not in {scan["filename"] for scan in scans(server)}
    assert server.get(f"/v1/scans/{first['scan']}").json()["filename"] == "fish_0.nii.gz"


def test_what_is_there_is_left_and_what_was_accepted_is_not_sent_again(server: RunningServer, folder: Path) -> None:
    """A result that is gone is fetched again without a byte of its scan being sent; --force replaces all of them."""
    out = folder.parent / "organs"
    assert batch(server, folder, "-o", out)[0] == 0
    sent, accepted = server.log.count("event=upload_received"), len(scans(server))
    (out / "fish_1.nii.gz").unlink()
    old = (out / "fish_0.nii.gz").stat().st_mtime_ns
    status, told, _ = batch(server, folder, "-o", out)
    assert (status, told["done"], told["already_there"]) == (0, 1, 2)
    assert (out / "fish_0.nii.gz").stat().st_mtime_ns == old
    status, told, _ = batch(server, folder, "-o", out, "--force")
    assert (status, told["done"], told["already_there"]) == (0, 3, 0)
    assert (out / "fish_0.nii.gz").stat().st_mtime_ns > old
    assert (server.log.count("event=upload_received"), len(scans(server))) == (sent, accepted)
    status, told, _ = batch(server, folder, "-o", out, "--force", "--fresh")
    assert (status, told["done"], len(scans(server))) == (0, 3, accepted + 3)


def test_labels_that_say_something_else_are_not_replaced(server: RunningServer, folder: Path) -> None:
    """The one result fails, and its segmentation is not there without the labels that belong to it."""
    out = folder.parent / "organs"
    out.mkdir()
    (out / "fish_0_labels.txt").write_text("mine")
    status, told, _ = batch(server, folder, "-o", out)
    assert (status, told["done"], told["failed"]) == (1, 2, 1)
    assert "fish_0_labels.txt exists and says something else; --force replaces it" in told["scans"][0]["error"]
    assert (out / "fish_0_labels.txt").read_text() == "mine" and not (out / "fish_0.nii.gz").exists()


def test_what_a_killed_command_left_of_a_description_is_in_nobodys_way(server: RunningServer, folder: Path) -> None:
    """The names of another model, without their segmentation, and a part of such a file: replaced, and removed."""
    out = folder.parent / "organs"
    out.mkdir()
    left = itk_snap_labels(OrganMap.from_mapping({1: "liver"}))
    (out / "fish_0_labels.txt").write_text(left)
    (out / f".fish_1_labels.txt.{'0' * 32}.part").write_text(left[:100])
    status, told, _ = batch(server, folder, "-o", out)
    assert (status, told["done"]) == (0, 3), told
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"fish_{number}{end}" for number in range(3) for end in (".nii.gz", "_labels.txt")
    )
    assert "heart" in (out / "fish_0_labels.txt").read_text()
    one = ("segment", folder / "fish_0.nii.gz", "--server", server.url)
    (folder.parent / "one_labels.txt").write_text(left)
    assert run(*one, "-o", folder.parent / "one.nii.gz")[0] == 0
    assert "heart" in (folder.parent / "one_labels.txt").read_text()


def test_a_series_a_pattern_and_another_format(server: RunningServer, folder: Path) -> None:
    """A folder of slices among scans becomes one result; OME-Zarr with the scan in it is a folder for each."""
    number = int.from_bytes(folder.parent.name.encode(), "little")
    for z, plane in enumerate(grey(number)):
        (folder / "series").mkdir(exist_ok=True)
        tifffile.imwrite(folder / "series" / f"slice_{z}.tif", plane)
    out = folder.parent / "organs"
    words = (folder / "series", folder / "fish_[01].nii.gz", "-o", out, "--with-scan", "--spacing", "0.01,0.01,0.01")
    status, told, complained = batch(server, *words)
    assert (status, told["done"]) == (0, 3), complained
    assert sorted(path.name for path in out.iterdir()) == ["fish_0.ome.zarr", "fish_1.ome.zarr", "series.ome.zarr"]
    with open_volume(out / "series.ome.zarr") as volume:
        np.testing.assert_array_equal(volume.read(), grey(number))
    assert (out / "series.ome.zarr/labels/segmentation/zarr.json").is_file()


def test_one_scan_has_json_too_and_one_in_a_folder_is_a_batch(server: RunningServer, folder: Path) -> None:
    """The same document, whether --out names the file or its folder."""
    number = int.from_bytes(folder.parent.name.encode(), "little")
    status, told, _ = batch(server, folder / "fish_0.nii.gz", "-o", folder.parent / "one.nii.gz")
    status_2, told_2, _ = batch(server, folder / "fish_0.nii.gz", "-o", folder.parent / "organs")
    assert (status, status_2) == (0, 0)
    np.testing.assert_array_equal(read(folder.parent / "one.nii.gz"), segmentation(number))
    outputs = [one["scans"][0].pop("output") for one in (told, told_2)]
    assert outputs == [str(folder.parent / "one.nii.gz"), str(folder.parent / "organs" / "fish_0.nii.gz")]
    assert told == told_2


def test_large_scans_that_were_accepted_are_not_sent_again_either(server: RunningServer, folder: Path) -> None:
    """Sent resumably, they have the same key."""
    words = (folder, "-o", folder.parent / "organs", "--resume-above", "0")
    assert batch(server, *words)[0] == 0
    shutil.rmtree(folder.parent / "organs")
    ids = {scan["id"] for scan in scans(server)}
    asked = server.log.count("event=scan_accepted")
    assert batch(server, *words)[1]["done"] == 3
    assert ({scan["id"] for scan in scans(server)}, server.log.count("event=scan_accepted")) == (ids, asked)


def test_copies_of_a_scan_are_one_on_the_server(server: RunningServer, folder: Path) -> None:
    """Each has its result, though they are sent at the same moment."""
    for number in range(6):
        shutil.copy(folder / "fish_0.nii.gz", folder / f"copy_{number}.nii.gz")
    before = len(scans(server))
    status, told, _ = batch(server, folder, "-o", folder.parent / "organs")
    assert (status, told["done"], len(scans(server))) == (0, 9, before + 3)
    assert len({scan["scan"] for scan in told["scans"]}) == 3


def test_a_server_that_is_killed_is_waited_for(waiting: RunningServer, folder: Path) -> None:
    """With scans of three commands in its queue; started again, it segments them, and nothing has to be repeated."""
    process = start("segment", folder, "-o", folder.parent / "organs", "--server", waiting.url, "--json")
    waiting.until(lambda: len(scans(waiting)) == 3)
    waiting.end(signal.SIGKILL)
    waiting.set(concurrent_scans=2)
    waiting.start(same_port=True)
    said, complained = process.communicate(timeout=120)
    assert (process.returncode, json.loads(said)["done"]) == (0, 3), complained
    assert len(scans(waiting)) == 3


def test_what_somebody_ends_meanwhile_fails_and_the_next_command_tries_it_again(
    waiting: RunningServer, folder: Path
) -> None:
    """Cancelled, or deleted; the cancelled scan is the same one afterwards, the deleted one is sent again."""
    command = ("segment", folder, "-o", folder.parent / "organs", "--server", waiting.url, "--json")
    process = start(*command)
    waiting.until(lambda: len(scans(waiting)) == 3)
    ids = {scan["filename"]: scan["id"] for scan in scans(waiting)}
    waiting.http.post(f"{waiting.url}/v1/scans/{ids['fish_0.nii.gz']}/cancel").raise_for_status()
    waiting.delete(f"/v1/scans/{ids['fish_1.nii.gz']}").raise_for_status()
    waiting.end()
    waiting.set(concurrent_scans=2)
    waiting.start(same_port=True)
    said, complained = process.communicate(timeout=120)
    errors = [scan["error"] for scan in json.loads(said)["scans"]]
    assert process.returncode == 1, complained
    assert "the scan cancelled: somebody deleted or cancelled it" in errors[0]
    assert "it may have been deleted" in errors[1]
    assert errors[2] is None
    status, said, _ = run(*command)
    assert (status, json.loads(said)["done"], json.loads(said)["already_there"]) == (0, 2, 1)
    after = {scan["filename"]: scan["id"] for scan in scans(waiting)}
    assert after["fish_0.nii.gz"] == ids["fish_0.nii.gz"] and after["fish_1.nii.gz"] != ids["fish_1.nii.gz"]


def test_ctrl_c_ends_it_at_once_and_nothing_is_lost(waiting: RunningServer, folder: Path) -> None:
    """Status 130, one line; what waits in the queue is fetched by the next command."""
    command = ("segment", folder, "-o", folder.parent / "organs", "--server", waiting.url)
    process = start(*command)
    waiting.until(lambda: len(scans(waiting)) == 3)
    process.send_signal(signal.SIGINT)
    _, complained = process.communicate(timeout=120)
    assert (process.returncode, complained) == (130, "interrupted; the same command goes on where it was\n")
    waiting.end()
    waiting.set(concurrent_scans=2)
    waiting.start(same_port=True)
    status, _, complained = run(*command)
    assert (status, len(scans(waiting))) == (0, 3), complained
    assert waiting.log.count("event=upload_received") == 3


def test_a_model_that_is_not_served_is_told_once(server: RunningServer, folder: Path) -> None:
    """And not for each scan."""
    words = ("segment", folder, "-o", folder.parent / "organs", "--server", server.url, "--model", "zebra")
    status, said, complained = run(*words)
    assert (status, said) == (1, "")
    assert complained == f"ricefish: {server.url} serves no model zebra; it serves thresholds\n"


def test_a_batch_of_which_some_failed_goes_on_with_them_alone(server: RunningServer, folder: Path) -> None:
    """With --force and --fresh: what was made is left, nothing is segmented twice, and a batch of which nothing is left
    to do is forgotten.
    """
    good = write_scan(folder / "good.nii.gz", int.from_bytes(folder.parent.name.encode(), "little") + 9).read_bytes()
    (folder / "good.nii.gz").write_bytes(b"no scan at all" * 50)
    out, words = folder.parent / "organs", ("--force", "--fresh")
    before = len(scans(server))
    status, told, complained = batch(server, folder, "-o", out, *words)
    assert (status, told["done"], told["failed"], len(scans(server))) == (1, 3, 1, before + 3)
    assert f"it makes all anew without {out}/.ricefish-batch.json" in complained
    (folder / "good.nii.gz").write_bytes(good)
    (out / "fish_0.nii.gz").unlink()
    status, told, _ = batch(server, folder, "-o", out, *words)
    assert (status, told["done"], told["already_there"], len(scans(server))) == (0, 2, 2, before + 4)
    status, told, _ = batch(server, folder, "-o", out, *words)
    assert (status, told["done"], told["already_there"], len(scans(server))) == (0, 4, 0, before + 8)
