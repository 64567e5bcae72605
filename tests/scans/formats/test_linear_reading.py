"""Text in files takes time in proportion to its length, however it is made."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import scans.formats
from scans.formats import FormatError, open_volume
from tests.scans.formats.nasty_text import NASTY

SIZES = (8_000, 16_000, 32_000, 64_000)
_LINEAR = 3.0
"""How much more than its share the longest text may cost: twice the length four times the work is 8 here."""
_UNMEASURABLE_SECONDS = 0.02


def cost(read: Callable[[], None]) -> float:
    """Least CPU seconds of this process of three readings: other processes do not count, nor does a first import."""
    seconds = []
    for _ in range(3):
        started = time.process_time()
        read()
        seconds.append(time.process_time() - started)
    return min(seconds)


def grows(costs: list[float]) -> float:
    """The cost of the longest in that of the shortest, for each character."""
    return costs[-1] / max(costs[0], _UNMEASURABLE_SECONDS) / (SIZES[-1] / SIZES[0])


def within_proportion(measured: Callable[[], list[float]]) -> bool:
    """Whether one of three measurements is linear: what is quadratic never is, noise is not thrice."""
    return any(costs[-1] < _UNMEASURABLE_SECONDS or grows(costs) < _LINEAR for costs in (measured() for _ in range(3)))


@pytest.mark.parametrize("name", NASTY)
def test_reading_twice_the_text_takes_twice_the_time(name, tmp_path):
    """Whether it is refused, in few words, or read; nothing but FormatError comes of it."""
    kind = {"zip": "a.zip", "gzip": "a.nii.gz"}.get(name.partition(":")[0], "a.dat")
    paths = [tmp_path / str(size) / kind for size in SIZES]
    for size, path in zip(SIZES, paths, strict=True):
        path.parent.mkdir()
        NASTY[name](path, size)

    answers = []

    def read(path) -> None:
        try:
            with open_volume(path):
                pass
        except FormatError as error:
            answers.append(str(error))

    assert within_proportion(lambda: [cost(lambda path=path: read(path)) for path in paths])
    assert all(len(answer) < 4000 for answer in answers)


def test_only_a_files_first_bytes_are_matched_by_expressions():
    """A reader takes text apart by itself; 540 bytes at most are compared with signatures."""
    formats = Path(scans.formats.__file__).parent
    assert [path.stem for path in sorted(formats.glob("*.py")) if "import re\n" in path.read_text()] == ["signatures"]
