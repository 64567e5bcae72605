"""Formats: mutated files of every kind. A reader gives voxels or FormatError; in time, in memory, and it lives on.

python -m attack.formats --file FILE         reads a file again that a finding names
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from attack import reading, seeds
from attack.reading import Job, Outcome
from attack.tally import Arena, Tally

_AT_ONCE = 2
_BATCH = 250
_HANGS_SECONDS = 60.0
"""Of an ordinary clock; what is slow by processor time is found long before."""
_ENDS_SECONDS = 5.0


def attack(arena: Arena, *, cases: int, readers: Sequence[str] = seeds.READERS) -> Tally:
    """So many cases for each reader."""
    tally = Tally("formats")
    files = seeds.write_seeds(arena.folder / "seeds")
    if arena.real is not None:
        seeds.add_real(files, arena.real)
    jobs = [
        Job(reader, files[reader], arena.seed, range(begin, min(begin + _BATCH, cases)))
        for begin in range(0, cases, _BATCH)
        for reader in readers
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for job, outcomes in pool.map(_Jobs(arena.folder).run, jobs):
            for outcome in outcomes:
                _note(tally, arena, job, outcome)
            arena.say(f"{tally.counts['cases']} of {cases * len(readers)} cases, {tally.found} findings")
    return tally


def _note(tally: Tally, arena: Arena, job: Job, outcome: Outcome) -> None:
    tally.count(f"{job.reader}: {outcome.what if outcome.fine else 'found'}")
    tally.count("cases")
    if not outcome.fine:
        content = reading.content_of(job.files, job.reader, job.seed, outcome.number)
        path = arena.keep(f"{job.reader}-{job.seed}-{outcome.number}", content)
        tally.find(f"{job.reader}: {outcome.what}", f"python -m attack.formats --file {path}")


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection

    def end(self) -> None:
        """The end of the pipe is what it waits for; one that hangs is killed."""
        self.pipe.close()
        self.process.join(_ENDS_SECONDS)
        self.process.kill()
        self.process.join()


@dataclass
class _Jobs:
    """Runs jobs in processes, one for each job, and another after each death."""

    folder: Path

    def run(self, job: Job) -> tuple[Job, list[Outcome]]:
        outcomes: list[Outcome] = []
        while len(outcomes) < len(job.numbers):
            rest = job.numbers[len(outcomes) :]
            with tempfile.TemporaryDirectory(dir=self.folder) as place, _worker(Path(place)) as worker:
                worker.pipe.send(Job(job.reader, job.files, job.seed, rest))
                outcomes += _outcomes(worker, rest)
        return job, outcomes


@contextmanager
def _worker(folder: Path) -> Iterator[_Worker]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["attack.preload"])
    ours, theirs = context.Pipe()
    process = context.Process(target=reading.work, args=(theirs, folder), daemon=True)
    process.start()
    theirs.close()
    worker = _Worker(process, ours)
    try:
        yield worker
    finally:
        worker.end()


def _outcomes(worker: _Worker, numbers: range) -> Iterator[Outcome]:
    """Of each number, up to the one at which the process died or hung."""
    for number in numbers:
        try:
            answered = worker.pipe.poll(_HANGS_SECONDS)
            outcome: Outcome | None = worker.pipe.recv() if answered else None
        except (EOFError, ConnectionError):
            worker.process.join()
            yield Outcome(number, f"the process died: exit code {worker.process.exitcode}", fine=False)
            return
        if outcome is None:
            yield Outcome(number, f"no end after {_HANGS_SECONDS:.0f} s", fine=False)
            return
        yield outcome


def main(arguments: Sequence[str] | None = None) -> None:
    """Shows one case, in this process."""
    parser = argparse.ArgumentParser(prog="python -m attack.formats", description="Reads one mutated file again")
    parser.add_argument("--file", type=Path, required=True, help="a file that a finding names")
    print(*reading.read(parser.parse_args(arguments).file))


if __name__ == "__main__":
    main()
