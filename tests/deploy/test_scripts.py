"""The shell scripts of deploy/ can be parsed, and pass shellcheck where there is one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

REPOSITORY = Path(__file__).resolve().parents[2]


FAKE_WORKER = """#!/usr/bin/env bash
trap 'echo told >> "$LOG"; exit 0' TERM
echo "$1 $RICEFISH_WORKER_ID $RICEFISH_DEVICE $RICEFISH_STORE" >> "$LOG"
while :; do sleep 0.05; done
"""
FAKE_SCONTROL = '#!/bin/sh\necho "scontrol $*" >> "$LOG"\n'


def scripts() -> list[Path]:
    """Files below deploy/ that begin with a shell's name."""
    files = (path for path in sorted((REPOSITORY / "deploy").rglob("*")) if path.is_file())
    return [path for path in files if path.read_bytes()[:20].startswith((b"#!/bin/sh", b"#!/usr/bin/env bash"))]


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.name)
def test_a_script_can_be_parsed(script: Path) -> None:
    """`bash -n` and, where it is installed, shellcheck find nothing."""
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """What Slurm gives a job, with a worker and a scontrol that only write down what they are told."""
    for name, content in (("ricefish", FAKE_WORKER), ("scontrol", FAKE_SCONTROL)):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "settings").write_text("export RICEFISH_STORE=s3://scans\n")
    return {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "LOG": str(tmp_path / "log"),
        "SETTINGS": str(tmp_path / "settings"),
        "TMPDIR": str(tmp_path),
        "SLURM_ARRAY_JOB_ID": "17",
        "SLURM_ARRAY_TASK_ID": "3",
    }


@pytest.mark.parametrize(
    ("number", "after"),
    [(signal.SIGUSR1, ["told", "scontrol requeue 17_3"]), (signal.SIGTERM, ["told"])],
    ids=["time is up", "scancel"],
)
def test_a_worker_on_a_cluster_is_told_before_its_time_is_up(
    cluster: dict[str, str], number: signal.Signals, after: list[str]
) -> None:
    """Its name is its place in the array; told by the time limit it queues itself again, by scancel it does not."""
    script = REPOSITORY / "deploy/slurm/workers.sbatch"
    job = subprocess.Popen(["bash", script], env=cluster)
    log = Path(cluster["LOG"])
    deadline = time.monotonic() + 60
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    job.send_signal(number)
    assert job.wait(60) == 0
    assert log.read_text().splitlines() == ["worker slurm-17_3 cuda s3://scans", *after]


def test_a_worker_that_fails_is_a_job_that_fails(cluster: dict[str, str]) -> None:
    """The exit status is the worker's, and it is not queued again."""
    worker = Path(cluster["LOG"]).with_name("ricefish")
    worker.write_text("#!/bin/sh\nexit 1\n")
    done = subprocess.run(["bash", REPOSITORY / "deploy/slurm/workers.sbatch"], env=cluster, check=False)
    assert done.returncode == 1
    assert not Path(cluster["LOG"]).exists()


def test_settings_that_cannot_be_read_are_named(cluster: dict[str, str]) -> None:
    """One line says which file has to export what."""
    cluster["SETTINGS"] += ".missing"
    script = REPOSITORY / "deploy/slurm/workers.sbatch"
    done = subprocess.run(["bash", script], env=cluster, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "settings.missing cannot be read; it has to export RICEFISH_DATABASE_URL" in done.stderr
