"""What `make demo` leaves and prints, and that its server never outlives it."""

import json
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from demo import picture, report, server, service
from demo.parts import DemoError, Parts
from demo.timetable import PARTS, Timetable
from harness import servers
from ricefish.client.organs import ServedOrgan
from scans.formats import create_volume
from scans.geometry import Box, Frame, Spacing
from scans.measures.metrics import VolumeScores
from scans.measures.statistics import OrganRow
from scans.model.expected_dice import ExpectedDice
from tests.serving.models import write_model

EVALUATION = {
    "teacher": {
        "mean_dice": 0.5,
        "mean_iou": 0.4,
        "organs": {
            "heart": {"dice": 0.5, "iou": 0.4, "left_out": 0},
            "gut": {"dice": None, "iou": None, "left_out": 2},
        },
        "volumes": {},
    },
    "control": {
        "mean_dice": 0.625,
        "mean_iou": 0.5,
        "organs": {
            "heart": {"dice": 0.625, "iou": 0.5, "left_out": 0},
            "gut": {"dice": None, "iou": None, "left_out": 2},
        },
        "volumes": {"fish_1": {"organs": {"heart": {"dice": 0.625}}}},
    },
    "student": {
        "mean_dice": 0.75,
        "mean_iou": 0.625,
        "organs": {
            "heart": {"dice": 0.75, "iou": 0.625, "left_out": 0},
            "gut": {"dice": None, "iou": None, "left_out": 2},
        },
        "volumes": {},
    },
    "differences": {},
}

SERVER = """
import http.server, signal, socketserver, sys
if {ignore_term}: signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("loading the model", file=sys.stderr, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health/ready" else 404); self.end_headers()
with socketserver.TCPServer(("127.0.0.1", 0), Handler) as listening:
    print("Ricefish serves at http://127.0.0.1:%d" % listening.server_address[1], flush=True)
    listening.serve_forever()
"""


def shown(table: Table) -> str:
    console = Console(width=200, record=True, file=StringIO())
    console.print(table)
    return console.export_text()


def fake_ricefish(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A command of that name, in place of the real server."""
    command = folder / "ricefish.py"
    command.write_text(script, encoding="utf-8")
    monkeypatch.setattr(servers, "RICEFISH", (sys.executable, str(command)))


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health/ready", trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_metrics_json_holds_the_means_and_two_figures_per_organ_and_nothing_else(tmp_path: Path) -> None:
    """metrics.json is exactly what the evaluation says, in the documented form; an absent organ is null."""
    (tmp_path / "evaluate.json").write_text(json.dumps(EVALUATION))
    report.write_metrics(tmp_path / "metrics.json", report.read_scores(tmp_path / "evaluate.json"))
    assert json.loads((tmp_path / "metrics.json").read_text()) == {
        "teacher": {
            "mean_dice": 0.5,
            "mean_iou": 0.4,
            "organs": {"heart": {"dice": 0.5, "iou": 0.4}, "gut": {"dice": None, "iou": None}},
        },
        "control": {
            "mean_dice": 0.625,
            "mean_iou": 0.5,
            "organs": {"heart": {"dice": 0.625, "iou": 0.5}, "gut": {"dice": None, "iou": None}},
        },
        "student": {
            "mean_dice": 0.75,
            "mean_iou": 0.625,
            "organs": {"heart": {"dice": 0.75, "iou": 0.625}, "gut": {"dice": None, "iou": None}},
        },
    }


def test_no_student_is_printed_without_its_control(tmp_path: Path) -> None:
    """Teacher, control and Student in a row, Dice and then IoU, on a screen of 80 columns."""
    (tmp_path / "evaluate.json").write_text(json.dumps(EVALUATION))
    console = Console(width=80, record=True, file=StringIO())
    console.print(report.scores_table(report.read_scores(tmp_path / "evaluate.json")))
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in console.export_text().splitlines()]
    assert ["heart", "0.500", "0.625", "0.750", "0.400", "0.500", "0.625"] in lines
    assert ["mean", "0.500", "0.625", "0.750", "0.400", "0.500", "0.625"] in lines


def test_the_table_of_organs_shows_the_true_volume_beside_the_served_one(tmp_path: Path) -> None:
    """An organ that was missed shows its true volume, a Dice of 0, none expected, and what the control has there; one
    that was found has bounds of its expected Dice."""
    served = ServedOrgan(1, "heart", 0, 0.0, None, None, None, touches_border=False, expected_dice=None)
    truth = OrganRow(1, "heart", 4, 0.125, (1.0, 2.0, 3.0), (0, 0, 0), Box((0, 0, 0), (1, 2, 2)), touches_border=False)
    scores = VolumeScores("fish_1", dice={"heart": 0.0}, iou={"heart": 0.0})
    (tmp_path / "evaluate.json").write_text(json.dumps(EVALUATION))
    control = report.read_control(tmp_path / "evaluate.json", "fish_1")
    table = shown(report.organs_table([served], [truth], scores, control=control))
    line = next(line for line in table.splitlines() if "heart" in line)
    assert line.split() == ["heart", "0", "0.125", "0.000", "-", "0.625", "-"]
    found = replace(served, expected_dice=ExpectedDice(0.75, 0.5, 1.0))
    table = shown(report.organs_table([found], [truth], scores, control=control))
    line = next(line for line in table.splitlines() if "heart" in line)
    assert line.split() == ["heart", "0", "0.125", "0.000", "0.75", "(0.50-1.00)", "0.625", "-"]


def test_slices_of_the_picture_show_small_organs_too() -> None:
    """An organ of one voxel draws a column as one of a thousand does; columns are in order and inside the volume."""
    truth = np.zeros((40, 10, 10), dtype=np.uint8)
    truth[30:40] = 1
    truth[5, 0, 0] = 2
    chosen = picture.telling_slices(truth, columns=4)
    assert 5 in chosen
    assert chosen == sorted(chosen)
    assert 30 <= chosen[-1] < 40


def test_a_volume_without_organs_still_has_a_picture() -> None:
    """Slices are spread evenly where there is nothing to see, and never more than there are."""
    assert picture.telling_slices(np.zeros((3, 2, 2), dtype=np.uint8), columns=6) == [0, 1, 2]


@pytest.mark.process
def test_the_server_is_stopped_however_the_demo_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the server runs: it is ended before the demo goes on, and its address answers no more."""
    fake_ricefish(tmp_path, monkeypatch, SERVER.format(ignore_term=False))
    addresses = []

    def interrupted() -> None:
        with server.running_server("m", store=tmp_path, log_path=tmp_path / "log", folder=tmp_path) as address:
            addresses.append(address)
            assert answers(address)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not answers(addresses[0])


@pytest.mark.process
def test_a_server_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that ignores SIGTERM is gone all the same."""
    fake_ricefish(tmp_path, monkeypatch, SERVER.format(ignore_term=True))
    monkeypatch.setattr(servers, "STOP_SECONDS", 0.2)
    with server.running_server("m", store=tmp_path, log_path=tmp_path / "log", folder=tmp_path) as address:
        pass
    assert not answers(address)


@pytest.mark.process
def test_a_server_that_cannot_start_is_reported_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how the server ended, where its log is, and what stands at its end."""
    fake_ricefish(tmp_path, monkeypatch, "import sys; sys.exit('there is no champion')")
    log = tmp_path / "logs" / "server.log"
    running = server.running_server("m", store=tmp_path, log_path=log, folder=tmp_path)
    with pytest.raises(DemoError, match="exit code 1") as caught, running:
        pytest.fail("it is not ready")
    assert str(log) in str(caught.value)
    assert "there is no champion" in str(caught.value)


@pytest.mark.process
def test_a_demo_that_is_run_again_replaces_its_segmentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests, one after the other, as two runs of the demo send them."""
    monkeypatch.setattr(service, "SEGMENTATION", tmp_path / "segmentation.nii.gz")
    monkeypatch.setattr(service, "SERVER_LOG", tmp_path / "server.log")
    model, scan = write_model(tmp_path / "model"), tmp_path / "fish.nii.gz"
    with create_volume(scan, shape=(3, 8, 8), dtype=np.uint16, frame=Frame.from_lps(Spacing(1, 1, 1))) as writer:
        writer.write(np.full((3, 8, 8), 500, dtype=np.uint16))
    for _ in range(2):
        parts = Parts(Console(file=StringIO()), Timetable(PARTS))
        service.segment_over_http(str(model), parts, Console(file=StringIO()), scan)
        assert (tmp_path / "segmentation.nii.gz").exists()


def test_a_part_that_fails_is_the_one_that_is_named() -> None:
    """The part under way when an error comes is known, and its time is kept."""
    parts = Parts(Console(file=StringIO()), Timetable({}))
    with parts.part("first"):
        pass
    with pytest.raises(DemoError), parts.part("second"):
        raise DemoError("no")
    assert parts.current == "second"
    assert [name in shown(parts.table()) for name in ("first", "second", "in all")] == [True] * 3
