"""How a model is run: measured once, remembered, and never guessed from a damaged file; buffers; memory errors."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from scans.model.manifest import MODEL_FILE, ModelManifest
from serving.inference.candidates import EngineCandidate
from serving.inference.runtime.binding import BoundSession
from serving.inference.runtime.memory import is_out_of_memory
from serving.inference.runtime.segmentation import Runtime, window_rows
from serving.inference.runtime.segmentation_runtime import Engine, Served
from serving.inference.runtime.session import RuntimeRefused
from serving.inference.tuning import TUNING_FILE, Tuner, Tuning, TuningOverrides
from tests.serving.models import GOLDEN_WINDOW, write_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tuned"))


def _never(_: int) -> Runtime:
    raise AssertionError("nothing is measured alone")


class Opener:
    """Counts how often the model is opened to be measured."""

    def __init__(self, model: Path) -> None:
        self.model = model
        self.times = 0

    @property
    def candidate(self) -> EngineCandidate:
        return EngineCandidate("float32", "onnxruntime", self, _never, lambda _: None)

    def __call__(self, threads: int, lanes: int) -> Runtime:
        self.times += 1
        return Runtime.open(self.model / MODEL_FILE, device="cpu", threads=threads, lanes=lanes)


def test_it_is_measured_once(model: Path, tmp_path: Path) -> None:
    """A second start finds what the first one found; another model, or a damaged file, is measured."""
    golden, opener = ModelManifest.read(model).golden, Opener(model)
    tuner = Tuner(tmp_path, overrides=TuningOverrides(threads=1, batch_size=0))
    found = tuner.tune([opener.candidate], golden, model_sha256="a")
    assert found.threads == 1 and found.batch_pixels >= golden.slice.size and found.slices_per_second > 0
    measured = opener.times
    assert (
        Tuner(tmp_path, overrides=TuningOverrides(threads=1, batch_size=0)).tune(
            [opener.candidate], golden, model_sha256="a"
        )
        == found
    )
    assert opener.times == measured
    tuner.tune([opener.candidate], golden, model_sha256="b")
    assert opener.times > measured
    measured = opener.times
    (tmp_path / TUNING_FILE).write_text('{"schema": 1, "tunings": {"x": {"lan')
    tuner.tune([opener.candidate], golden, model_sha256="a")
    assert opener.times > measured


def test_settings_leave_nothing_to_measure(model: Path, tmp_path: Path) -> None:
    """Threads and batch size that were set are taken, and nothing is written."""
    golden, opener = ModelManifest.read(model).golden, Opener(model)
    found = Tuner(tmp_path, overrides=TuningOverrides(threads=2, batch_size=3)).tune(
        [opener.candidate], golden, model_sha256="a"
    )
    assert (found.threads, found.lanes, found.batch_size(*golden.slice.shape)) == (2, 1, 3)
    assert opener.times == 0 and not any(tmp_path.iterdir())


class Machine:
    """Two processors and a clock of its own, and how many slices a second each way of running does at a moment."""

    def __init__(self, rate: Callable[[tuple[int, int], float], float]) -> None:
        self.rate = rate
        self.now = 0.0
        self._lock = threading.Lock()

    def perf_counter(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds

    def open(self, threads: int, lanes: int) -> Runtime:
        def segment_rows(slices: NDArray[np.float32], windows: NDArray[np.float32], *, lane: int) -> None:
            self.advance(len(slices) / self.rate((threads, lanes), self.now))

        return cast("Runtime", SimpleNamespace(lanes=lanes, segment_rows=segment_rows))


@pytest.mark.parametrize(
    ("together", "apart", "chosen"), [(15.5, 16.0, (1, 2)), (16.0, 15.5, (2, 1)), (16.0, 16.1, (2, 1))]
)
@pytest.mark.parametrize("slow", [(0.0, 0.5), (0.5, 1.2), (1.2, 3.0)])
def test_a_slow_moment_does_not_decide(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    together: float,
    apart: float,
    chosen: tuple[int, int],
    slow: tuple[float, float],
) -> None:
    """Both processors on one batch or one for each of two: the faster, and the first where it is nearly the same."""

    def rate(way: tuple[int, int], now: float) -> float:
        whole = together if way == (2, 1) else apart
        return 0.7 * whole if slow[0] <= now < slow[1] else whole

    machine = Machine(rate)
    monkeypatch.setattr("serving.inference.tuning.time", machine)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    golden = ModelManifest.read(model).golden
    found = Tuner(tmp_path, overrides=TuningOverrides(threads=0, batch_size=0)).tune(
        [EngineCandidate("float32", "onnxruntime", machine.open, _never, lambda _: None)], golden, model_sha256="a"
    )
    assert (found.threads, found.lanes) == chosen


FLOAT, VINO_FLOAT, INT8, VINO_INT8 = (
    f"{precision} by {engine}" for precision in ("float32", "int8") for engine in ("onnxruntime", "openvino")
)


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ((20, 21, 50, 80), VINO_INT8),
        ((20, 21, 50, 52), INT8),  # too little for another library's answers
        ((20, 24, 15, 18), VINO_FLOAT),  # a processor on which int8 is slow
        ((20, 20, 18, None), FLOAT),
    ],
)
def test_the_fastest_candidate_is_chosen_and_remembered_with_what_it_beat(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rates: tuple[float | None, ...],
    chosen: str,
) -> None:
    """Of slices a second on a clock of its own; None: it answers the golden slice otherwise, and is never measured."""
    machine = Machine(lambda way, now: 1.0)
    monkeypatch.setattr("serving.inference.tuning.time", machine)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)

    def candidate(name: str, rate: float | None) -> EngineCandidate:
        def check(_: object) -> None:
            if rate is None:
                raise RuntimeRefused("it answers otherwise")

        precision, _, engine = name.split()
        machine_alone = Machine(lambda way, now: rate or 0.001)
        machine_alone.advance = machine.advance  # type: ignore[method-assign]
        return EngineCandidate(cast("Served", precision), cast("Engine", engine), machine_alone.open, _never, check)

    candidates = [candidate(*pair) for pair in zip((FLOAT, VINO_FLOAT, INT8, VINO_INT8), rates, strict=True)]
    golden = ModelManifest.read(model).golden
    found = Tuner(tmp_path, overrides=TuningOverrides(threads=0, batch_size=0)).tune(
        candidates, golden, model_sha256="a"
    )
    assert f"{found.precision} by {found.engine}" == chosen
    said = {f"{one.precision} by {one.engine}": (one.slices_per_second, one.refused) for one in found.compared}
    assert {name: rate and round(rate) for name, (rate, _) in said.items()} == dict(
        zip((FLOAT, VINO_FLOAT, INT8, VINO_INT8), rates, strict=True)
    )
    assert [why for _, why in said.values() if why] == ["it answers otherwise"] * rates.count(None)
    again = Tuner(tmp_path, overrides=TuningOverrides(threads=0, batch_size=0), measures=False)
    assert again.tune(candidates, golden, model_sha256="a") == found


@pytest.mark.parametrize(("shape", "slices"), [((256, 256), 4), ((512, 512), 1), ((1000, 1000), 1), ((64, 64), 64)])
def test_batches_hold_as_many_pixels_whatever_the_slice(shape: tuple[int, int], slices: int) -> None:
    """Measured with 4 slices of 256 x 256: fewer large slices, more small ones, at least one, at most 64."""
    tuning = Tuning(batch_pixels=4 * 256 * 256, threads=1, lanes=1, slices_per_second=0)
    assert tuning.batch_size(*shape) == slices


def test_bound_buffers_answer_like_a_plain_run(model: Path) -> None:
    """For several shapes, more than are kept, each asked for twice with other values."""
    session = onnxruntime.InferenceSession(model / MODEL_FILE, providers=["CPUExecutionProvider"])
    bound, generator = BoundSession(session, "cpu", 0), np.random.default_rng(0)
    for side in (8, 9, 10, 11, 12, 8, 9):
        slices = generator.integers(-20, 120, (2, side, side + 1)).astype(np.float32)
        windows = window_rows(GOLDEN_WINDOW, 2)
        expected = session.run(["segmentation"], {"slices": slices, "window": windows})[0]
        np.testing.assert_array_equal(bound.run(slices, windows)[0], expected)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("BFCArena::AllocateRawInternal: Failed to allocate memory for requested buffer of size 9"), True),
        (RuntimeError("CUDA failure 2: out of memory ; GPU=0"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("Check 'ptr' failed at cpu_memory.cpp:257:\nFailed to allocate 16777216 bytes of memory"), True),
        (RuntimeError("[CPU] Convolution node with name 'node_Conv_578' can't alloc"), True),
        (MemoryError(), True),
        (RuntimeError("Got invalid dimensions for input: slices"), False),
    ],
)
def test_memory_errors_are_told_from_others(error: Exception, expected: bool) -> None:
    """By what ONNX Runtime, OpenVINO and the libraries below them say."""
    assert is_out_of_memory(error) is expected
