"""What `make check` leaves out: tests that start processes, all of which are marked."""

import subprocess
import sys

import pytest


def test_a_test_without_the_marker_starts_no_process() -> None:
    """This one has none, so that it fails where it starts one; git alone is let through."""
    with pytest.raises(pytest.fail.Exception, match="is to be marked"):
        subprocess.run([sys.executable, "-c", ""], check=True)
    assert subprocess.run(["git", "--version"], check=True, capture_output=True).stdout


@pytest.mark.process
def test_a_test_with_the_marker_may() -> None:
    """The other way round."""
    assert subprocess.run([sys.executable, "-c", ""], check=True).returncode == 0


@pytest.fixture
def started(processes: None) -> int:
    return subprocess.run([sys.executable, "-c", ""], check=True).returncode


def test_a_fixture_marks_the_tests_that_use_it(started: int, request: pytest.FixtureRequest) -> None:
    """Where it uses the fixture `processes`."""
    assert started == 0
    assert request.node.get_closest_marker("process")
