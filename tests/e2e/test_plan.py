"""`ricefish plan`: its numbers are those of the queue's formulas, worked out by hand, and near what was measured."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ricefish.planning.capacity import NetworkLinks, PlanLimits, PlannedLoad, Rates, busy_probability, mean_wait, plan
from ricefish.planning.rates import RatesError, from_metrics
from tests.serving.models import write_model
from tests.serving.running import RunningServer

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks/results"
RATES = Rates(read=1e-9, prepare=1e-9, infer=9e-9, write=4e-9, source="by hand")
"""A gigavoxel takes the device 10 s, the reader 1 s, the writer 4 s."""


def ricefish(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ricefish", "plan", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_slowest_thread_sets_the_pace() -> None:
    """3 gigavoxels at 10 s each take 30 s; 2400 scans in 24 h are one every 36 s: five sixths of a worker."""
    found = plan(PlannedLoad(scans_per_day=2400, voxels=3e9), RATES, limits=PlanLimits(most_utilisation=0.9))
    assert found.service_seconds == pytest.approx(30)
    assert (found.workers, found.utilisation) == (1, pytest.approx(30 / 36))
    assert found.busy == {k: pytest.approx(v) for k, v in {"infer": 30 / 36, "write": 12 / 36, "read": 3 / 36}.items()}
    assert found.bottleneck == "infer" and found.feasible


def test_a_writer_that_is_slower_than_the_device_is_the_bottleneck() -> None:
    """Where writing takes longer than inference, a faster GPU would not help, and it is said which part would."""
    slow_disk = Rates(read=1e-9, prepare=0, infer=2e-9, write=8e-9, source="by hand")
    found = plan(PlannedLoad(scans_per_day=100, voxels=1e9), slow_disk)
    assert (found.bottleneck, found.service_seconds) == ("write", pytest.approx(8))


def test_peaks_and_working_hours_ask_for_more_workers() -> None:
    """The same scans in 8 hours, twice as many in the busiest: 6 times the rate, 5 workers' work, 8 at 70 %."""
    found = plan(PlannedLoad(scans_per_day=2400, voxels=3e9, hours=8, peak=2), RATES)
    assert found.workers == 8
    assert found.utilisation == pytest.approx(5 / 8)


@pytest.mark.parametrize(
    ("workers", "offered", "expected"),
    [(1, 0.5, 0.5), (2, 1.0, 1 / 3), (3, 2.0, 4 / 9), (1, 0.0, 0.0)],
)
def test_erlangs_probability_that_all_are_busy(workers: int, offered: float, expected: float) -> None:
    """C(1, a) = a; C(2, 1) = 1/3 and C(3, 2) = 4/9 are worked out in every textbook."""
    assert busy_probability(workers, offered=offered) == pytest.approx(expected)


def test_waits_are_those_of_pollaczek_and_khinchine_for_one_worker() -> None:
    """Half busy with scans of 10 s: 10 s on average if their times vary like an exponential, 5 s if all are alike."""
    assert mean_wait(1, offered=0.5, service_seconds=10, variation=1) == pytest.approx(10)
    assert mean_wait(1, offered=0.5, service_seconds=10, variation=0) == pytest.approx(5)


def test_thousands_of_workers_overflow_nothing() -> None:
    """A recursion in the place of factorials."""
    assert 0 < busy_probability(5000, offered=4900) < 1
    assert math.isfinite(mean_wait(5000, offered=4900, service_seconds=1, variation=1))


def test_a_wait_that_is_too_long_asks_for_more_workers() -> None:
    """At a load of 0.5 one worker keeps scans waiting for 10 s and two for 2/3 s, which C(2, 0.5) = 0.1 gives."""
    load = PlannedLoad(scans_per_day=4320, voxels=1e9, variation=1)  # one every 20 s, 10 s each
    one, two = plan(load, RATES), plan(load, RATES, limits=PlanLimits(most_wait_seconds=5))
    assert (one.workers, one.wait_seconds) == (1, pytest.approx(10))
    assert (two.workers, two.wait_seconds) == (2, pytest.approx(0.1 * 10 / 1.5))


def test_the_network_is_a_bottleneck_that_workers_do_not_widen() -> None:
    """6 GB every 36 s through 1 Gbit/s, 125 MB/s: 133 % of it, and the plan cannot be carried out."""
    found = plan(PlannedLoad(scans_per_day=2400, voxels=3e9), RATES, links=NetworkLinks(network=125e6))
    assert found.busy["network"] == pytest.approx(6e9 / 36 / 125e6)
    assert found.bottleneck == "network" and not found.feasible


def test_the_store_takes_and_gives_scans_and_results() -> None:
    """Each voxel is put and read as 2 bytes, and its class put and fetched as 0.1: 4.2 bytes through the store."""
    found = plan(PlannedLoad(scans_per_day=2400, voxels=3e9), RATES, links=NetworkLinks(store=1e9))
    assert found.busy["store"] == pytest.approx(4.2 * 3e9 / 36 / 1e9)


def test_storage_grows_until_as_much_is_removed_as_comes() -> None:
    """10 scans of 1 gigavoxel at 2.1 bytes on 250 days are 5.25 TB a year; 73 days of a year hold a fifth of it."""
    load = PlannedLoad(scans_per_day=10, voxels=1e9, days_per_year=250, retention_days=73)
    found = plan(load, RATES)
    assert found.stored_bytes_per_year == pytest.approx(5.25e12)
    assert found.kept_bytes == pytest.approx(5.25e12 / 5)
    assert plan(PlannedLoad(scans_per_day=10, voxels=1e9), RATES).kept_bytes is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hours": 25}, "hours is 25; expected a number of more than 0 and at most 24"),
        ({"voxels": 0}, "voxels is 0; expected a number of more than 0"),
        ({"peak": 0.5}, "peak is 0.5; expected a number of at least 1"),
        ({"scans_per_day": math.inf}, "scans_per_day is inf; expected"),
        ({"bytes_per_voxel": math.nan}, "bytes_per_voxel is nan; expected"),
        ({"variation": -1}, "variation is -1; expected a number of at least 0"),
        ({"retention_days": -3}, "retention_days is -3; expected"),
    ],
)
def test_a_load_that_cannot_be_is_refused(given: dict[str, float], message: str) -> None:
    """The message names what is wrong, and the range."""
    with pytest.raises(ValueError, match=f"^{message}"):
        PlannedLoad(**{"scans_per_day": 1, "voxels": 1e9, **given})


def test_too_few_workers_are_refused() -> None:
    """A queue that grows for ever has no mean wait."""
    with pytest.raises(ValueError, match=r"1 workers cannot keep up with the work of 5\.00"):
        plan(PlannedLoad(scans_per_day=2400, voxels=3e9, hours=8, peak=2), RATES, limits=PlanLimits(workers=1))


@pytest.mark.process
def test_rates_of_a_running_server(tmp_path: Path) -> None:
    """What a server has measured of a scan becomes rates; one that has segmented nothing is refused with what to do."""
    scan = tmp_path / "fish.nii.gz"
    grey = np.random.default_rng(7).integers(0, 1000, (24, 17, 11)).astype(np.int16)
    nib.save(nib.Nifti1Image(grey, np.diag([0.01, 0.01, 0.01, 1.0])), scan)
    server = RunningServer(tmp_path, write_model(tmp_path / "model"), slab_slices=4).start()
    try:
        address = f"{server.url}/metrics"
        load = ("--scans-per-day", "100", "--voxels", "3000x1000x1000", "--metrics", address, "--json")
        refused = ricefish(*load)
        assert refused.returncode == 1 and "has segmented nothing since it was started" in refused.stderr
        server.until_ended(server.post(scan, scan.name).json()["id"])
        rates = from_metrics(server.get("/metrics").text, source=address)
        assert rates.read > 0 and rates.infer > 0 and rates.write > 0
        answer = ricefish(*load, "--workers", "100000")
        assert answer.returncode == 0, answer.stderr
        content = json.loads(answer.stdout)
        assert content["load"]["voxels"] == 3e9
        assert content["plan"]["service_seconds"] == pytest.approx(3e9 * rates.seconds_per_voxel)
        assert content["rates"]["source"] == address
    finally:
        server.end()


@pytest.mark.process
def test_the_table_says_what_to_buy() -> None:
    """Workers, waits, the bottleneck and storage in words; the exit status says whether it can be carried out."""
    given = ("--scans-per-day", "2400", "--voxels", "3G", "--rates", "1000,1000,111.1111,250", "--utilisation", "0.9")
    said = ricefish(*given, "--network", "10", "--retention-days", "30")
    assert said.returncode == 0, said.stderr
    lines = {" ".join(line.split()) for line in said.stdout.splitlines()}
    assert {"workers, each with a device 1", "one scan takes a worker 30 s", "infer 83% <- bottleneck"} <= lines
    narrow = ricefish(*given, "--network", "1")
    assert narrow.returncode == 1 and "network 133% <- bottleneck, cannot keep up" in " ".join(narrow.stdout.split())


@pytest.mark.process
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "give one of --metrics, --results and --rates"),
        (("--rates", "1,2"), "give four numbers"),
        (("--results", str(RESULTS / "seeds.json")), "is no result of `make bench`"),
        (("--results", str(RESULTS / "capacity.json"), "--row", "7"), "has rows 0 to 1"),
        (("--metrics", "http://127.0.0.1:1/metrics"), "does not give its metrics"),
    ],
)
def test_a_plan_without_rates_is_refused(given: tuple[str, ...], message: str) -> None:
    """One line says what to give."""
    refused = ricefish("--scans-per-day", "1", "--voxels", "3G", *given)
    assert refused.returncode == 1 and message in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.process
def test_voxels_that_are_no_number_are_refused() -> None:
    """With an example of each of the forms that there are."""
    refused = ricefish("--scans-per-day", "1", "--voxels", "many", "--rates", "1,1,1,1")
    assert refused.returncode == 1 and "3000x1000x1000" in refused.stderr


def test_metrics_of_something_else_are_refused() -> None:
    """A text without our counters gives no rates."""
    with pytest.raises(RatesError, match="segmented nothing"):
        from_metrics("process_open_fds 5\n", source="elsewhere")
