"""How a stage is called: `python -m training.stages.NAME [--debug]`. What the user can put right is one line."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

PIPELINE_FILE = Path("dvc.yaml")
STOPPED = 130
"""Exit status after Ctrl-C."""
_OURS = ("training", "scans")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_WRITTEN = ("outs", "metrics", "plots")


class StageError(ValueError):
    """A stage cannot work with the data and parameters that it has; the message says what would be right."""


def run_command(stage: str, main: Callable[[], None], arguments: Sequence[str] | None = None) -> None:
    """Runs a stage's `main` in the working directory, which is the repository root.

    What the user can put right ends with exit status 1 and one line on stderr; with --debug, and where the fault is in
    the program, with a traceback.
    """
    program = f"python -m training.stages.{stage}"
    parser = argparse.ArgumentParser(prog=program, description=f"Stage {stage} of {PIPELINE_FILE}.")
    parser.add_argument("--debug", action="store_true", help="show where in the program an error arose")
    debug = parser.parse_args(arguments).debug
    try:
        check_inputs(stage)
        main()
    except KeyboardInterrupt:
        print(f"{stage}: stopped", file=sys.stderr)
        sys.exit(STOPPED)
    except Exception as error:
        if debug or not _can_be_put_right(error):
            raise
        print(f"{stage}: {_said(error)}", file=sys.stderr)
        sys.exit(1)


def check_inputs(stage: str) -> None:
    """Raises StageError where another stage has to run first; without a dvc.yaml nothing is known of that."""
    stages = _pipeline()
    writers = {path: name for name, other in stages.items() for kind in _WRITTEN for path in _paths(other, kind)}
    for path in _paths(stages.get(stage, {}), "deps"):
        if path in writers and not Path(path).exists():
            raise StageError(
                f"{path} does not exist, and stage {writers[path]} makes it: `dvc repro {writers[path]}` runs it, and "
                f"what it needs"
            )


def _pipeline() -> Mapping[str, Mapping[str, Any]]:
    if not PIPELINE_FILE.exists():
        return {}
    try:
        stages: Mapping[str, Mapping[str, Any]] = yaml.safe_load(PIPELINE_FILE.read_text(encoding="utf-8"))["stages"]
    except (yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        raise StageError(f"{PIPELINE_FILE} holds no stages: {' '.join(str(error).split())}") from error
    return stages


def _paths(stage: Mapping[str, Any], kind: str) -> Iterator[str]:
    """What DVC writes as a path, or as a path with how it is treated."""
    for entry in stage.get(kind, ()):
        yield from [entry] if isinstance(entry, str) else entry


def _can_be_put_right(error: Exception) -> bool:
    """True for what this project raises by a name of its own, and for files, disks, memory and MLflow."""
    package = type(error).__module__.partition(".")[0]
    return package in (*_OURS, "mlflow") or isinstance(error, OSError) or _is_out_of_memory(error)


def _is_out_of_memory(error: Exception) -> bool:
    """Of the machine, as NumPy says it and torch does, or of the GPU; torch's own class is none of Python's."""
    return isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "allocate memory" in str(error)


def _said(error: Exception) -> str:
    """What is wrong, with the way out where the error itself says none."""
    if _is_out_of_memory(error):
        found = " ".join(str(error).split()) or "no more is said"
        return (
            f"the memory is full ({found}); a smaller batch_size, crop or cache_megabytes takes less: params.yaml has "
            f"them for this stage"
        )
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    where, why = error.filename or Path.cwd(), error.strerror or type(error).__name__
    if error.errno in _FULL:
        return f"the disk of {where} is full ({why}); make room and run `dvc repro`, which goes on at this stage"
    if error.errno in _FORBIDDEN:
        return f"{where} cannot be used ({why}); give the user who runs the stages leave to read and write there"
    return f"{where}: {why}"
