"""The deps on code of each DVC stage: what it imports. `python -m tests.architecture.stage_deps` writes them."""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import fields
from itertools import groupby
from pathlib import Path
from typing import Any

import grimp
import yaml

from scans.formats.format_table import FORMATS
from training.params import Params

PACKAGES = ("scans", "training")
PIPELINE = Path("dvc.yaml")
STAGES = Path("training/stages")


class Imports:
    """The modules of this project and what they import, found without running them."""

    def __init__(self) -> None:
        self._graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
        for function in (name for known in FORMATS for name in (known.reader, *known.writers.values()) if name):
            module = f"scans.formats.{function.rpartition('.')[0]}"
            self._graph.add_import(importer="scans.formats.format_table", imported=module)

    def modules(self, module: str) -> set[str]:
        """Every module that Python reads when it runs this one: all that is imported, and their packages."""
        found: set[str] = set()
        waiting = {module}
        while waiting:
            current = waiting.pop()
            found.add(current)
            package = current.rpartition(".")[0]
            imported = self._graph.find_upstream_modules(current) | ({package} if package else set())
            waiting |= imported - found
        return found

    def deps(self, module: str) -> list[str]:
        """What a stage depends on that runs the module: folders of packages, and files that are in none."""
        return sorted({_dep(name) for name in self.modules(module)})


def is_code(dep: str) -> bool:
    """True of what `make deps` writes, false of data."""
    return dep.startswith(tuple(f"{package}/" for package in PACKAGES))


def _dep(module: str) -> str:
    """The package's folder, `scans/formats`; the file itself of a stage, and of what lies beside the packages."""
    path = Path(*module.split("."))
    package = Path(*path.parts[:2])
    if package.is_dir() and package != STAGES:
        return str(package) if len(path.parts) > 1 else str(path / "__init__.py")
    return str(path / "__init__.py" if path.is_dir() else path.with_suffix(".py"))


def sections(stage: str) -> set[str]:
    """The keys of a profile that a stage's file asks `params` for."""
    tree = ast.parse((STAGES / f"{stage}.py").read_text(encoding="utf-8"))
    known = {field.name for field in fields(Params)}
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params"
    } & known


def stages(text: str) -> Mapping[str, Any]:
    """The stages of a dvc.yaml."""
    content: Mapping[str, Any] = yaml.safe_load(text)["stages"]
    return content


def rewritten(text: str, imports: Imports) -> str:
    """The dvc.yaml with the deps on code that its stages have; all else as it was."""
    for name, stage in stages(text).items():
        code = imports.deps(stage["cmd"].removeprefix("python -m "))
        data = [dep for dep in stage["deps"] if not is_code(dep)]
        written = re.search(rf"\n  {name}:\n(?:    .*\n)*?    deps: (\[[^]]*])", text)
        if written is None:
            raise ValueError(f"{PIPELINE}: stage {name} has no list of deps in brackets")
        text = text[: written.start(1)] + _list([*data, *code]) + text[written.end(1) :]
    return text


def _list(deps: list[str]) -> str:
    """In brackets: data, then code, each from a line of its own on."""
    groups = groupby(deps, is_code)
    written = ",\n".join(", ".join(f"'{dep}'" if "{" in dep else dep for dep in group) for _, group in groups)
    lines = (textwrap.wrap(line, 114, break_on_hyphens=False) for line in written.splitlines())
    return "[\n" + "\n".join(f"      {part}" for wrapped in lines for part in wrapped) + "\n    ]"


def main() -> None:
    """Writes dvc.yaml in the working directory, which is the repository root."""
    text = PIPELINE.read_text(encoding="utf-8")
    new = rewritten(text, Imports())
    PIPELINE.write_text(new, encoding="utf-8")
    sys.stdout.write(f"{PIPELINE} {'was right' if new == text else 'rewritten'}\n")


if __name__ == "__main__":
    main()
