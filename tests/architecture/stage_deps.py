"""The deps on code of each DVC stage: what it imports. `python -m tests.architecture.stage_deps` writes them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from dataclasses import fields
from io import StringIO
from pathlib import Path
from typing import Any

import grimp
from ruamel.yaml import YAML

from scans.formats.table import FORMATS
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
            self._graph.add_import(importer="scans.formats.table", imported=module)

    def files(self, module: str) -> list[str]:
        """Every file that Python reads when it runs the module: all that is imported, and their packages."""
        found: set[str] = set()
        waiting = {module}
        while waiting:
            current = waiting.pop()
            found.add(current)
            package = current.rpartition(".")[0]
            imported = self._graph.find_upstream_modules(current) | ({package} if package else set())
            waiting |= imported - found
        return sorted(_file(name) for name in found)


def _file(module: str) -> str:
    path = Path(*module.split("."))
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
    content: Mapping[str, Any] = YAML(typ="safe").load(text)["stages"]
    return content


def rewritten(text: str, imports: Imports) -> str:
    """The dvc.yaml with the deps on code that its stages have; all else as it was."""
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 120
    content = yaml.load(text)
    for stage in content["stages"].values():
        code = imports.files(stage["cmd"].removeprefix("python -m "))
        data = [dep for dep in stage.get("deps", []) if not dep.endswith(".py")]
        stage["deps"] = [*data, *code]
    out = StringIO()
    yaml.dump(content, out)
    return out.getvalue()


def main() -> None:
    """Writes dvc.yaml in the working directory, which is the repository root."""
    text = PIPELINE.read_text(encoding="utf-8")
    new = rewritten(text, Imports())
    PIPELINE.write_text(new, encoding="utf-8")
    sys.stdout.write(f"{PIPELINE} {'was right' if new == text else 'rewritten'}\n")


if __name__ == "__main__":
    main()
