"""resolve: the values of the active profile in one file, so that DVC sees which of them have changed, and no others."""

from __future__ import annotations

import logging

import yaml

from training.command import run_command
from training.params import PARAMS_FILE, RESOLVED_FILE, load_params
from training.profiles import to_tree

HEADER = f"# The values in force, which stage resolve writes; change them in {PARAMS_FILE}.\n"

log = logging.getLogger(__name__)


def main() -> None:
    """Runs the stage in the repository root. It is no MLflow run: it takes no time and every stage logs its values."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    resolve()
    raw_dir = load_params().prepare.raw_dir
    if not raw_dir.is_dir():
        log.warning(
            "raw_dir in %s is %s, and there is no such folder: prepare needs it; `dvc exp run -S raw_dir=FOLDER` names "
            "another.",
            PARAMS_FILE,
            raw_dir,
        )


def resolve() -> None:
    """Writes params.resolved.yaml in the working directory, and says so where that changes nothing.

    Raises ParamsError that names the key at fault.
    """
    text = HEADER + yaml.safe_dump(to_tree(load_params()), sort_keys=False)
    if RESOLVED_FILE.exists() and RESOLVED_FILE.read_text(encoding="utf-8") == text:
        log.warning(
            "%s: no value that is in force has changed. Where the active profile has a value of its own, that one "
            "counts: its address is profiles.NAME.SECTION.KEY.",
            PARAMS_FILE,
        )
    RESOLVED_FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run_command("resolve", main)
