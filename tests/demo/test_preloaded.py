"""Commands that are handed to the process with the imports run as `python -m` runs them, and never outlive whom they
are for."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo import stand_in
from demo.preloaded import preloaded
from demo.run import REPOSITORY

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each command imports for itself"),
]

REPORT = """
import json, os, sys
import json.tool
text = sys.stdin.read()
print(os.getpid(), os.getppid(), os.getcwd(), os.environ["COLOUR"], sys.argv[1:], __name__, text, sep="|")
sys.exit(int(sys.argv[1]))
"""
WAIT = """
import os, sys, time
from pathlib import Path
Path("pid").write_text(str(os.getpid()))
Path("ready").touch()
time.sleep(600)
"""


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Of commands that a process runs which has imported `json.tool` and can import what lies in `tmp_path`."""
    (tmp_path / "report.py").write_text(REPORT)
    (tmp_path / "waiting.py").write_text(WAIT)
    began = {**os.environ, "PYTHONPATH": str(tmp_path), "COLOUR": "red"}
    with preloaded(began, folder=REPOSITORY, modules=("json.tool",)) as inside:
        yield inside


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_command_has_its_own_folder_arguments_environment_streams_and_exit_code(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Two commands of one process: each runs as `__main__` in a fork of it, and ends with the code it asked for."""
    parents = set()
    for colour, code in (("blue", 3), ("green", 0)):
        done = subprocess.run(
            ["python", "-m", "report", str(code), "two words"],
            cwd=tmp_path,
            env={**environment, "COLOUR": colour},
            input="asked",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        pid, parent, *said = done.stdout.rstrip("\n").split("|")
        assert said == [str(tmp_path), colour, f"['{code}', 'two words']", "__main__", "asked"]
        assert int(pid) != int(parent)
        parents.add(parent)
    assert len(parents) == 1


def test_a_module_that_fails_says_why_and_the_next_one_runs(environment: dict[str, str], tmp_path: Path) -> None:
    """An error is a traceback on the standard error of whoever asked, and exit code 1."""
    command = ["python", "-m", "report"]
    failed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (failed.returncode, "IndexError" in failed.stderr) == (1, True)
    assert subprocess.run([*command, "0"], cwd=tmp_path, env=environment, check=False).returncode == 0


def test_what_is_no_module_is_run_by_the_interpreter_itself(environment: dict[str, str]) -> None:
    """`python -c` keeps its meaning."""
    command = ["python", "-c", "import sys; print(sys.executable); sys.exit(4)"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (4, sys.executable)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_command_ends_with_the_process_that_waits_for_it(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    """What DVC started is killed: the fork that does its work is gone too, and the next command runs."""
    waiting = subprocess.Popen(["python", "-m", "waiting"], cwd=tmp_path, env=environment)
    wait_for((tmp_path / "ready").exists)
    fork = int((tmp_path / "pid").read_text())
    assert fork != waiting.pid
    waiting.send_signal(number)
    waiting.wait()
    wait_for(lambda: not is_there(fork))
    command = ["python", "-m", "report", "0"]
    assert subprocess.run(command, cwd=tmp_path, env=environment, check=False).returncode == 0


def test_ctrl_c_reaches_the_command_and_no_more(environment: dict[str, str], tmp_path: Path) -> None:
    """An interrupt of the whole group ends the command as KeyboardInterrupt does; the one with the imports stays."""
    waiting = subprocess.Popen(
        ["python", "-m", "waiting"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    wait_for((tmp_path / "ready").exists)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGINT)
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate()
    assert (waiting.returncode, "KeyboardInterrupt" in said) == (1, True)
    command = ["python", "-m", "report", "0"]
    assert subprocess.run(command, cwd=tmp_path, env=environment, check=False).returncode == 0


def test_without_the_process_the_interpreter_runs_the_command_itself(tmp_path: Path) -> None:
    """What a killed process leaves is a socket that nobody listens at: the next stage imports for itself."""
    (tmp_path / "report.py").write_text(REPORT)
    address = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
    done = subprocess.run(
        [sys.executable, str(stand_in.__file__), "-m", "report", "5"],
        cwd=tmp_path,
        env={**os.environ, "COLOUR": "red", stand_in.ADDRESS: str(address)},
        input="asked",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.rstrip().split("|")[-1]) == (5, "asked")
