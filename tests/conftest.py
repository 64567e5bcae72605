"""Fixtures that every part of the tests shares."""

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

os.environ.setdefault("OMP_NUM_THREADS", "1")  # each test process computes on one core: the others have theirs
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before any test imports onnxruntime

# how long an example takes says how busy the machine is, not whether the code is right
hypothesis.settings.register_profile("ricefish", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("ricefish")


_LONGEST = ("test_registry_down.py", "test_outages.py", "test_pipeline.py")
"""Files of minutes, most of them of a few tests: begun first, so that no process has one left when others are done."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """As many as there are cores; `-n auto`, with all the tests that wait for a server of their own, one more."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + (config.getoption("numprocesses") == "auto")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """Marks what uses the fixture `processes`, through others or not. The longest files stay first in any order."""
    for item in items:
        if isinstance(item, pytest.Function) and "processes" in item.fixturenames:
            item.add_marker("process")
    yield
    items.sort(key=lambda item: item.path.name not in _LONGEST)


@pytest.fixture(scope="session")
def processes() -> None:
    """What fixtures that start processes use, so that their tests are not among those of `make check`."""


_STARTS = ("harness.forked", "subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system")
_guarded = False
"""True while a test runs that says of itself, by having no marker, that it starts no process."""


def _no_process(event: str, arguments: tuple[object, ...]) -> None:
    if _guarded and event in _STARTS and not _is_trifle(arguments):
        pytest.fail(f"a test that starts a process ({event} {arguments}) is to be marked: pytest.mark.process")


def _is_trifle(arguments: tuple[object, ...]) -> bool:
    """What answers at once: git, of the repository's files, and the machine's name, which libraries ask for."""
    command = arguments[1] if len(arguments) > 1 else None
    return isinstance(command, list) and command[:1] in (["git"], ["uname"])


sys.addaudithook(_no_process)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Fixtures are guarded as their tests are."""
    with _guard(item):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Not so the end of a fixture, which may be that of a test before."""
    with _guard(item):
        yield


@contextmanager
def _guard(item: pytest.Item) -> Iterator[None]:
    global _guarded  # noqa: PLW0603  the hook can be handed nothing, and not be taken back
    _guarded = item.get_closest_marker("process") is None
    try:
        yield
    finally:
        _guarded = False


@pytest.fixture(scope="module", autouse=True)
def no_registry_left_behind() -> Iterator[None]:
    """MLflow keeps the addresses it was last given for the whole process: each test file begins with none."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            environment.delenv(name, raising=False)
        yield
        if "mlflow" in sys.modules:
            import mlflow

            mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # takes it, its annotation does not say so
            mlflow.set_registry_uri(None)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans (headneck_ct, formats) that some tests read where it is there."""
    folder = Path(os.environ.get("RICEFISH_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real scans at {folder}; set RICEFISH_TEST_DATA to a folder that holds headneck_ct and formats")
    return folder
