"""Mutated files: a few of each kind are read here, ten thousand by `make attack ARGS=--long`; and what is noticed."""

from __future__ import annotations

import os
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from attack import bombs, formats, reading, seeds
from attack.mutations import mutate
from attack.tally import Arena
from scans.formats import FormatError


def arena(folder: Path, *, seed: int = 1) -> Arena:
    return Arena(folder, folder / "kept", seed, folder / "no model", lambda line: None)


@pytest.mark.process
def test_mutated_files_of_each_kind_are_read_or_refused(tmp_path: Path) -> None:
    """In time, in memory, and with no other exception than FormatError."""
    tally = formats.attack(arena(tmp_path), cases=30)
    assert tally.counts["cases"] == 30 * len(seeds.READERS)
    assert [finding.what for finding in tally.findings] == []


@pytest.mark.process
def test_a_process_that_dies_is_a_finding_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each case after the death is read in another process; the file is kept."""
    monkeypatch.setattr(formats.reading, "work", die_at_the_third)
    tally = formats.attack(arena(tmp_path), cases=4, readers=["nrrd"])
    assert tally.counts["cases"] == 4
    assert [finding.what for finding in tally.findings] == ["nrrd: the process died: exit code 7"] * tally.found
    assert tally.found and len(list((tmp_path / "kept").iterdir())) == tally.found


def die_at_the_third(jobs: object, folder: Path) -> None:
    """In the place of `reading.work`, in the process that reads."""
    job = jobs.recv()  # type: ignore[attr-defined]
    for number in job.numbers:
        if number == 2:
            os._exit(7)
        jobs.send(reading.Outcome(number, "read", fine=True))  # type: ignore[attr-defined]
    jobs.poll(None)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_what_is_not_fine_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of a library, and a reader that takes more than a second; FormatError is fine."""

    def raising(error: Exception) -> None:
        def opened(path: Path, **_: object) -> None:
            raise error

        monkeypatch.setattr(reading, "open_volume", opened)

    raising(KeyError("dims"))
    assert reading.read(tmp_path / "a") == ("KeyError: 'dims'", False)
    raising(FormatError(tmp_path, "bad", "good"))
    assert reading.read(tmp_path / "a") == ("refused", True)

    def slow(path: Path, **_: object) -> None:
        until = time.process_time() + 1.1
        while time.process_time() < until:
            pass
        raise FormatError(path, "bad", "good")

    monkeypatch.setattr(reading, "open_volume", slow)
    what, fine = reading.read(tmp_path / "a")
    assert what.startswith("refused, after 1.") and not fine


def test_the_files_that_mutation_begins_with_are_good(tmp_path: Path) -> None:
    """Each reader has at least one, and reads all of them."""
    files = seeds.write_seeds(tmp_path)
    assert set(files) == set(seeds.READERS)
    assert {path.name: reading.read(path) for paths in files.values() for path in paths} == {
        path.name: ("read", True) for paths in files.values() for path in paths
    }


def test_a_case_is_the_same_each_time(tmp_path: Path) -> None:
    """By reader, seed and number; and another for each number."""
    files = seeds.write_seeds(tmp_path)
    for reader, paths in files.items():
        cases = [reading.content_of(paths, reader, 1, number) for number in range(40)]
        assert cases == [reading.content_of(paths, reader, 1, number) for number in range(40)]
        assert len(set(cases)) > 30


def test_mutation_copes_with_any_bytes() -> None:
    """Also with none, and with containers that are none."""
    import random

    for content in (b"", b"PK", b"\x1f\x8b", b"x"):
        for number in range(200):
            dice = random.Random(number)  # noqa: S311 - a test, not a secret
            if content[:2] != b"PK":
                assert isinstance(mutate(content, content, dice), bytes)


@pytest.mark.slow
def test_zeros_are_packed_as_zlib_would_unpack_them() -> None:
    """A thousandth of their length, with the right checksum."""
    packed = bombs.deflated_zeros(1 << 26)
    assert len(packed) < 1 << 17
    assert not np.frombuffer(zlib.decompress(packed), np.uint8).any()
    assert len(zlib.decompress(bombs.deflated_zeros(1, wrapped=False), -15)) == 1 << 26
