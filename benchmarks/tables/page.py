"""The page docs/results.md: every table that was measured, with the command, the commits and the machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.tables.measuring import Cell
from benchmarks.tables.rows import ROWS, TABLES
from benchmarks.tables.summary import as_markdown, lines

HEAD = """# Results

Made by `make figures` from the files that `make table-1`, `make table-2` and `make bench-expected` leave; nothing here
is written by hand.
What the rows are: [the method](method.md). A row is compared with its control seed by seed: the difference is a mean
over seeds with its 95 % interval (Student's t).
"""


def page(folder: Path) -> str:
    """The page, of the tables in the folder of results; "" where none was measured."""
    files = sorted(folder.glob("table-*.json"))
    sections = (_section(path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in files)
    return "\n".join([HEAD, *sections]) if files else ""


def _section(name: str, table: Mapping[str, Any]) -> str:
    cells = [Cell(**row) for row in table["rows"]]
    commits = ", ".join(dict.fromkeys(cell.commit[:7] for cell in cells))
    machines = "; ".join(sorted({cell.machine for cell in cells}))
    return "\n".join(
        [
            f"## Table {table['table']}, profile {table['profile']}",
            "",
            f"`{_command(table, cells)}`",
            "",
            f"Commit {commits}. {machines}.",
            "",
            as_markdown(lines(cells)),
            f"![Dice of each row over the label budget](../benchmarks/results/{name}.png)",
            "",
        ]
    )


def _command(table: Mapping[str, Any], cells: Sequence[Cell]) -> str:
    """One that measures what is there; that may have been done in several."""
    options: dict[str, Iterable[object]] = {"profile": [table["profile"]]}
    if not table["synthetic"]:
        options["raw"] = [f"FOLDER/{table['raw_folder']}"]
    if "prepare.seed" in table["changes"]:
        options["data-seed"] = [table["changes"]["prepare.seed"]]
    if (rows := {cell.row for cell in cells}) != set(TABLES[table["table"]]):
        options["rows"] = [row for row in ROWS if row in rows]
    options["budgets"] = sorted({cell.budget for cell in cells})
    options["seeds"] = sorted({cell.seed for cell in cells})
    said = " ".join(f"--{name} {' '.join(map(str, values))}" for name, values in options.items())
    return f'make table-{table["table"]} ARGS="{said}"'
