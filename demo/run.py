"""`make demo`: trains on synthetic fish, promotes and serves the Student, and posts a held-out fish to it over HTTP.

Leaves demo/overlay.png, demo/metrics.json and demo/segmentation.nii.gz. Run again, it does again only what changed.
What takes long to import is imported when its part begins, so that the first line is there at once.
"""

# ruff: noqa: PLC0415  see above
from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console

from demo.parts import DemoError, Parts, tool_environment
from demo.pipeline import reproduce
from demo.preloaded import preloaded
from demo.timetable import PARTS, STAGES, Timetable, about

if TYPE_CHECKING:
    from training.params import Params

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL_PATCHES = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
}
"""Patches of 48 pixels are too small to be shared: two threads take a third more processor time than one. And glibc
keeps what one step of training frees for the next: else some processes fault in thousands of pages a step."""


def main() -> int:
    """Runs every part; the exit code is 1 where one failed, and the message names it."""
    os.chdir(REPOSITORY)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    signal.signal(signal.SIGTERM, _stop)
    console = Console()
    timetable = Timetable({**STAGES, **PARTS})
    parts = Parts(console, timetable)
    try:
        _demo(parts, console, timetable)
    except KeyboardInterrupt:
        console.print(f"\ndemo: stopped during {parts.current}; `make demo` goes on from there", highlight=False)
        return 130
    except (DemoError, OSError, ValueError) as error:
        console.print(f"\n[bold red]demo: {parts.current} failed[/]")
        console.print(str(error), markup=False, highlight=False)
        return 1
    return 0


def _demo(parts: Parts, console: Console, timetable: Timetable) -> None:
    console.print(
        f"Trains a model on synthetic fish ({len(STAGES)} stages), makes it the champion, serves it, and has a fish "
        f"that it never saw segmented over HTTP: {about(timetable.seconds_left)}, less where it ran before.",
        highlight=False,
    )
    with preloaded({**tool_environment(), **SMALL_PATCHES}, folder=REPOSITORY) as environment:
        with parts.part("pipeline: dvc repro"):
            params = _phantom_params()
            reproduce(console, timetable, folder=REPOSITORY, environment=environment)
        with parts.part("promotion: ricefish models promote", step="promotion"):
            _promote(params.register.model, environment)
        from demo.service import show

        show(params.register.model, parts, console, environment)


def _phantom_params() -> Params:
    from training.params import load_params

    params = load_params()
    if not params.prepare.phantoms.validation:
        raise DemoError(
            "params.yaml is set to another profile than the demo's synthetic fish; switch back with\n"
            "  dvc exp run -S profile=demo -S raw_dir=data/phantom"
        )
    return params


def _promote(model: str, environment: Mapping[str, str]) -> None:
    """Moves `champion` to the new Student where the gate lets it; else the champion of before stays and is served."""
    command = ["python", "-m", "ricefish", "models", "promote", model]
    if subprocess.run(command, cwd=REPOSITORY, env=dict(environment), check=False).returncode == 0:
        return
    from scans.registry.champion import CHAMPION
    from training.registry.versions import Registry

    champion = Registry(model).at(CHAMPION)
    if champion is None:
        raise DemoError(f"`{' '.join(command)}` failed, for the reason above, and there is no champion to serve")
    print(f"The new version was not promoted, for the reason above: {champion} stays champion and is served.")


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
