"""A shadow on a real server: what it finds on a scan worked out by hand, and that it is in nobody's way."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from harness.offline import run_offline
from scans.intensity import Window
from serving.auth.keys import Keys
from serving.storage.database import Database
from tests.serving.models import write_model
from tests.serving.running import RunningServer

SLICES = 16
CHAMPION, SHADOW = (0.4, 0.7), (0.5, 0.8)
"""Above the first is heart, above the second eye, of grey values from 0 to 100."""


def volume(path: Path, grey: NDArray[np.int16]) -> Path:
    nib.save(nib.Nifti1Image(grey.T, np.eye(4)), path)
    return path


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("champion"), thresholds=CHAMPION)


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 slices of 8 x 8: ten voxels of 45, twenty of 60, six of 75, twelve of 90, two of 100, and else 0."""
    grey = np.zeros(4 * 8 * 8, np.int16)
    grey[:50] = np.repeat([45, 60, 75, 90, 100], [10, 20, 6, 12, 2])
    np.random.default_rng(5).shuffle(grey)
    return volume(tmp_path_factory.mktemp("scan") / "fish.nii.gz", grey.reshape(4, 8, 8))


@pytest.fixture(scope="module")
def long_scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    grey = np.random.default_rng(3).integers(0, 101, (SLICES, 48, 40)).astype(np.int16)
    return volume(tmp_path_factory.mktemp("scan") / "long.nii.gz", grey)


@pytest.fixture
def server(tmp_path: Path, champion: Path, processes: None) -> Iterator[RunningServer]:
    """With a shadow on all scans; not started yet."""
    shadow = write_model(tmp_path / "shadow", thresholds=SHADOW)
    running = RunningServer(tmp_path, champion, slab_slices=2, shadow=shadow, shadow_share=1)
    yield running
    running.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory, champion: Path, processes: None) -> Iterator[RunningServer]:
    """A server whose shadow takes its time; the champion does not."""
    folder = tmp_path_factory.mktemp("slow")
    shadow = write_model(folder / "shadow", thresholds=SHADOW, rounds=25)
    running = RunningServer(folder, champion, slab_slices=1, shadow=shadow, shadow_share=1)
    yield running.start()
    running.end(signal.SIGKILL)


def report(server: RunningServer) -> dict:
    found: dict = server.get("/v1/models/shadow").raise_for_status().json()
    return found


def scans_compared(server: RunningServer) -> int:
    return sum(pair["scans"] for pair in report(server)["comparisons"])


def compared(server: RunningServer, scan: Path) -> str:
    """The id of a scan that has succeeded and been compared."""
    scan_id = str(server.post(scan, "fish.nii.gz").raise_for_status().json()["id"])
    server.until(lambda: f"event=shadow_compared scan={scan_id}" in server.log)
    return scan_id


def slabs(server: RunningServer, scan_id: str) -> list[int]:
    """Slabs that the shadow has counted, in order, over all starts."""
    return [int(n) for n in re.findall(rf"event=shadow_slab_compared scan={scan_id} slab=(\d+)", server.log)]


def segmentation(server: RunningServer, scan_id: str, folder: Path) -> NDArray[np.uint8]:
    path = folder / "out.nii.gz"
    path.write_bytes(server.get(f"/v1/scans/{scan_id}/segmentation").raise_for_status().content)
    return np.asarray(nib.load(path).dataobj).T.astype(np.uint8)


def offline_dice(scan: Path, champion: Path, shadow: Path) -> dict[str, float]:
    """Of heart and eye, from what both models say outside of any server."""
    grey = np.asarray(nib.load(scan).dataobj).T.astype(np.float32)
    ours, theirs = (run_offline(model, grey, Window(0.0, 100.0)) for model in (champion, shadow))
    return {
        name: 2 * np.sum((ours == k) & (theirs == k)) / (np.sum(ours == k) + np.sum(theirs == k))
        for k, name in ((1, "heart"), (2, "eye"))
    }


def test_agreement_is_what_it_is_by_hand(server: RunningServer, by_hand: Path, champion: Path, tmp_path: Path) -> None:
    """Heart: 45 and 60 against 60 and 75, 2 x 20 / (30 + 26); eye: 75, 90, 100 against 90, 100, 2 x 14 / (20 + 14).

    The page, the metrics and the log say so; what is given out is the champion's alone.
    """
    server.start()
    scan_id = compared(server, by_hand)
    heart, eye = 40 / 56, 28 / 34
    (pair,) = report(server)["comparisons"]
    assert pair["scans"] == 1 and pair["mean_dice"] == pytest.approx((heart + eye) / 2)
    assert pair["organs"] == [
        {
            "name": name,
            "dice": pytest.approx(dice),
            "scans": 1,
            "left_out": 0,
            "worst": {"scan": scan_id, "dice": pytest.approx(dice)},
        }
        for name, dice in (("heart", heart), ("eye", eye))
    ]
    server.until(lambda: 'ricefish_shadow_runs_total{outcome="compared"} 1.0' in server.get("/metrics").text)
    metrics = server.get("/metrics").text
    for organ, dice in (("heart", heart), ("eye", eye)):
        series = f'ricefish_shadow_agreement_dice_%s{{model="thresholds",organ="{organ}"}} '
        assert series % "count" + "1.0" in metrics
        assert float(metrics.partition(series % "sum")[2].split()[0]) == pytest.approx(dice)
    assert f'scan={scan_id} dice="heart={heart:.4f} eye={eye:.4f}"' in server.log
    grey = np.asarray(nib.load(by_hand).dataobj).T
    expected = run_offline(champion, grey.astype(np.float32), Window(0.0, 100.0))
    assert np.array_equal(segmentation(server, scan_id, tmp_path), expected)


def test_an_organ_that_neither_finds_is_left_out_and_counted(server: RunningServer, by_hand: Path) -> None:
    """A scan of one grey value holds no organ: it lowers no mean, and is counted as left out."""
    server.start()
    compared(server, by_hand)
    before = report(server)["comparisons"][0]
    compared(server, volume(by_hand.parent / "blank.nii.gz", np.full((4, 8, 8), 7, np.int16)))
    after = report(server)["comparisons"][0]
    assert after["scans"] == before["scans"] + 1 and after["mean_dice"] == before["mean_dice"]
    assert [organ["left_out"] for organ in after["organs"]] == [1, 1]
    assert [organ["dice"] for organ in after["organs"]] == [organ["dice"] for organ in before["organs"]]


def test_numbers_stay_when_scans_go(server: RunningServer, by_hand: Path) -> None:
    """A removed scan is named no more once the server has swept; what was counted of it still counts.

    With a share of 0 nothing more is compared, and what was is still there.
    """
    server.start()
    compared(server, by_hand)
    before = report(server)["comparisons"][0]
    worst = before["organs"][0]["worst"]["scan"]
    assert server.delete(f"/v1/scans/{worst}").status_code == 204
    assert server.end() == 0
    server.set(shadow_share=0)
    server.start()
    after = report(server)["comparisons"][0]
    assert after["organs"][0]["worst"] == {"scan": None, "dice": before["organs"][0]["worst"]["dice"]}
    assert (after["scans"], after["mean_dice"]) == (before["scans"], before["mean_dice"])
    scan_id = server.post(by_hand, "fish.nii.gz").json()["id"]
    assert server.until_ended(scan_id)["state"] == "succeeded"
    assert (report(server)["waiting"], report(server)["share"]) == (0, 0)


def test_a_shadow_that_is_the_champion_has_nothing_to_compare(
    server: RunningServer, by_hand: Path, champion: Path
) -> None:
    """It is said so, and costs no inference."""
    server.set(shadow=champion)
    server.start()
    server.post(by_hand, "fish.nii.gz")
    server.until(lambda: 'ricefish_shadow_runs_total{outcome="same"} 1.0' in server.get("/metrics").text)
    found = report(server)
    assert found["note"] == f"{champion} is thresholds, which is the model that answers: nothing to compare"
    assert (found["waiting"], found["comparisons"]) == (0, [])
    assert 'ricefish_inference_requests_total{urgency="shadow"} 0.0' in server.get("/metrics").text


def test_without_its_model_scans_succeed_and_comparisons_wait(server: RunningServer, by_hand: Path) -> None:
    """The server starts, answers and is ready; once the model is there, at the next start, the scan is compared."""
    elsewhere = server.store.parent / "elsewhere"
    server.set(shadow=elsewhere)
    server.start()
    scan_id = server.post(by_hand, "fish.nii.gz").json()["id"]
    assert server.until_ended(scan_id)["state"] == "succeeded"
    server.until(lambda: f'event=shadow_not_loaded error="{elsewhere} is not a folder' in server.log)
    assert report(server)["waiting"] == 1 and server.get("/health/ready").status_code == 200
    assert server.end() == 0
    shutil.copytree(server.store.parent / "shadow", elsewhere)
    server.start()
    server.until(lambda: f"event=shadow_compared scan={scan_id}" in server.log)
    assert "Traceback" not in server.log


def test_a_reviewer_sees_no_id_of_anothers_scan(server: RunningServer, by_hand: Path) -> None:
    """Owner and administrator do; who may only segment does not see the page at all."""
    server.store.mkdir()
    database = Database(f"sqlite:///{server.store / 'jobs.sqlite'}")
    database.open()
    keys = Keys(database)
    owner = keys.add(owner="ada", scopes=["segment", "review"])
    others = {scope: keys.add(owner="eve", scopes=[scope]) for scope in ("segment", "review", "admin")}
    database.close()
    server.start()
    address = f"{server.url}/v1/scans?filename=f.nii.gz&fresh=true"
    posted = server.http.post(address, content=by_hand.read_bytes(), headers={"X-API-Key": owner})
    scan_id = posted.json()["id"]
    server.until(lambda: f"event=shadow_compared scan={scan_id}" in server.log)

    def shown(key: str) -> set[str | None]:
        answer = server.http.get(f"{server.url}/v1/models/shadow", headers={"X-API-Key": key}).raise_for_status()
        return {organ["worst"]["scan"] for pair in answer.json()["comparisons"] for organ in pair["organs"]}

    assert shown(others["review"]) == {None}
    assert len(shown(others["admin"]) - {None}) >= 1
    assert shown(owner) <= {None, scan_id}
    refused = server.http.get(f"{server.url}/v1/models/shadow", headers={"X-API-Key": others["segment"]})
    assert refused.status_code == 403


def test_a_killed_server_takes_the_comparison_up_again(slow: RunningServer, long_scan: Path, champion: Path) -> None:
    """SIGKILL in the middle: started again, it goes on at the slab after the last that was counted, and right."""
    scan_id = slow.post(long_scan, "long.nii.gz").json()["id"]
    slow.until(lambda: len(slabs(slow, scan_id)) >= 5)
    slow.end(signal.SIGKILL)
    done = len(slabs(slow, scan_id))
    assert done < SLICES
    slow.start()
    assert slow.get(f"/v1/scans/{scan_id}").json()["state"] == "succeeded"
    slow.until(lambda: f"event=shadow_compared scan={scan_id}" in slow.log)
    counted = slabs(slow, scan_id)
    assert counted == sorted(set(counted)), "none is counted twice"
    assert set(range(SLICES)) - set(counted) <= {done}, "it may die between a count and its line in the log"
    (pair,) = report(slow)["comparisons"]
    expected = offline_dice(long_scan, champion, slow.store.parent / "shadow")
    assert {organ["name"]: organ["dice"] for organ in pair["organs"]} == pytest.approx(expected)


def test_scans_go_before_it(slow: RunningServer, long_scan: Path, champion: Path, tmp_path: Path) -> None:
    """While a scan that came later is worked on, a comparison under way stands still, but for the batch it was at.

    The result of that scan has the same voxels as without any shadow.
    """
    first = slow.post(long_scan, "long.nii.gz").json()["id"]
    slow.until(lambda: len(slabs(slow, first)) >= 3)
    later = slow.post(long_scan, "long.nii.gz").json()["id"]
    assert slow.until_ended(later)["state"] == "succeeded"
    began = f"event=slab_finished scan={later}"
    meanwhile = began + slow.log.partition(began)[2].partition(f"event=scan_succeeded scan={later}")[0]
    assert meanwhile.count("event=slab_finished") == SLICES
    assert meanwhile.count("event=shadow_slab_compared") <= 2, "one that was counted, one whose batch was under way"
    grey = np.asarray(nib.load(long_scan).dataobj).T
    expected = run_offline(champion, grey.astype(np.float32), Window(0.0, 100.0))
    assert np.array_equal(segmentation(slow, later, tmp_path), expected)
    slow.until(lambda: f"event=shadow_begun scan={later}" in slow.log, seconds=120)


def test_a_removed_scan_ends_its_comparison(slow: RunningServer, long_scan: Path) -> None:
    """In the middle: nothing of it is recorded, and the next one has its turn."""
    slow.until(lambda: report(slow)["waiting"] == 0, seconds=120)
    before = scans_compared(slow)
    removed = slow.post(long_scan, "long.nii.gz").json()["id"]
    slow.until(lambda: len(slabs(slow, removed)) >= 2)
    assert slow.delete(f"/v1/scans/{removed}").status_code == 204
    slow.until(lambda: f"event=shadow_let_go scan={removed}" in slow.log)
    compared(slow, long_scan)
    assert scans_compared(slow) == before + 1
    assert not (slow.store / "scans" / removed).exists()


def test_a_stopped_server_gives_it_back(slow: RunningServer, long_scan: Path) -> None:
    """SIGTERM ends the batch under way, and the exit status is 0; the next start goes on."""
    scan_id = slow.post(long_scan, "long.nii.gz").json()["id"]
    slow.until(lambda: len(slabs(slow, scan_id)) >= 2)
    assert slow.end() == 0
    assert f"event=shadow_parked scan={scan_id}" in slow.log
    done = len(slabs(slow, scan_id))
    slow.start()
    slow.until(lambda: f"event=shadow_compared scan={scan_id}" in slow.log)
    assert slabs(slow, scan_id) == list(range(SLICES)) and done < SLICES
