"""What the pages name is there: files, folders, and modules that are run."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_NEW_IN_EXTENDING = re.compile(r"^```python\n# (\S+)$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"(^|/)[A-Z]{2,}(/|$)")


def listed(*command: str, given: str = "") -> list[str]:
    """Lines that git prints."""
    done = subprocess.run(["git", *command], cwd=ROOT, input=given, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


PAGES = sorted(name for name in listed("ls-files", "--cached", "--others", "--exclude-standard", "*.md"))
PYTHON = set(listed("ls-files", "--cached", "--others", "--exclude-standard", "*.py"))
TOP = {path.name for path in ROOT.iterdir()} - {".git", ".venv"}


def named(text: str) -> set[str]:
    """Paths in backticks that begin at the root of the repository; patterns, and those with a NAME, are none."""
    found = re.findall(r"`([\w.-]+/[\w./-]*|[\w-]+\.(?:md|yaml|toml|lock))`", text)
    return {path for path in found if path.partition("/")[0] in TOP and not _PLACEHOLDER.search(path)}


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_names_exists(page: str) -> None:
    """But for what the pipeline, the demo or a build makes, which git ignores."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if page == "CHANGELOG.md":  # says of earlier versions what was there then
        text = text.partition("\n## 0")[0]
    missing = {path for path in named(text) if not (ROOT / path).exists()} - set(_NEW_IN_EXTENDING.findall(text))
    asked = "\n".join(f"{path.rstrip('/')}\n{path.rstrip('/')}/" for path in sorted(missing))
    ignored = {path.rstrip("/") for path in listed("check-ignore", "--no-index", "--stdin", given=asked)}
    assert {path for path in missing if path.rstrip("/") not in ignored} == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_python_file_that_a_page_names_exists(page: str) -> None:
    """Also by the end of its path, `queue/leases.py`; and in "`f` in `a/b.py`" the file defines f."""
    text = (ROOT / page).read_text(encoding="utf-8").partition("\n## 0")[0]
    new = set(_NEW_IN_EXTENDING.findall(text))
    ends = {f"/{path}" for path in PYTHON}
    names = set(re.findall(r"`([\w./-]+\.py)`", text)) - new
    assert {name for name in names if not any(path.endswith(f"/{name}") for path in ends)} == set()
    for name, path in re.findall(r"`(\w+)` in\s+`([\w./-]+\.py)`", text):
        if path in PYTHON:
            assert re.search(rf"^ *(def|class) {name}\b", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), name


@pytest.mark.parametrize("page", PAGES)
def test_every_module_that_a_page_runs_exists(page: str) -> None:
    """`python -m NAME` in a page is a module of this repository or of its environment."""
    text = (ROOT / page).read_text(encoding="utf-8")
    modules = set(re.findall(r"python -m ([a-z_][\w.]*\w)", text)) - {"training.stages.NAME"}
    assert {name for name in modules if importlib.util.find_spec(name) is None} == set()


def test_a_path_is_known_as_one() -> None:
    """What begins elsewhere, is a pattern or a call, is none."""
    paths = "`serving/queue/leases.py` `docs/` `params.yaml`"
    others = "`a/b.py` `/v1/scans` `labelled/images/*` `x.y()` `scans/ID/x` serving/no.py"
    assert named(f"{paths} {others}") == {"serving/queue/leases.py", "docs/", "params.yaml"}


def test_every_cell_of_the_page_of_formats_has_a_test_that_is_there() -> None:
    """Its last column names tests by their functions."""
    rows = [line for line in (ROOT / "docs/formats.md").read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    rows = [row for row in rows if not row.endswith("| test |")]
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^ *(?:async )?def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(rows) > 40
    for row in rows:
        tests = re.findall(r"`(test_\w+)`", row)
        assert tests, row
        assert set(tests) <= defined, row
