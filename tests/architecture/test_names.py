"""A name stands for one thing: classes over all packages, files within one."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("scans", "training", "serving", "ricefish")

SHARED_STEMS = {
    ("serving", "results"): "a route is named for what it serves, and segmentation makes the results",
    ("serving", "worker"): "the process is one, and the queue has what it does with a scan",
}
"""Files of one package that share a name, each with the reason."""


def modules(package: str) -> list[Path]:
    """Its files, relative to the repository."""
    return sorted(path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py"))


def test_no_two_public_classes_share_a_name() -> None:
    """Who reads a class's name, in a message or a signature, knows which one it is."""
    homes = defaultdict(list)
    for package in PACKAGES:
        for path in modules(package):
            for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    homes[node.name].append(str(path))
    assert len(homes) > 200
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_no_two_files_of_a_package_share_a_name() -> None:
    """Who is told the name of a file finds it; where two share one, a reason stands above."""
    homes = defaultdict(list)
    for package in PACKAGES:
        for path in modules(package):
            if not path.stem.startswith("__"):
                homes[package, path.stem].append(str(path))
    shared = {key: paths for key, paths in homes.items() if len(paths) > 1}
    assert {key: paths for key, paths in shared.items() if key not in SHARED_STEMS} == {}
    assert set(SHARED_STEMS) <= set(shared), "a reason without two files"
