"""The page docs/results.md: every table that was measured, with the command, the commit and the machines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.tables.measuring import PHANTOMS, Cell
from benchmarks.tables.summary import as_markdown, lines

_HEAD = """# Results

Made by `make figures` from the files that `make table-1` and `make table-2` leave; nothing here is written by hand.
What the rows are: [the method](method.md). A row is compared with its control seed by seed: the difference is a mean
over seeds with its 95 % interval (Student's t).
"""


def page(results: Path) -> str:
    """The page, of the tables in the folder of results; "" where none was measured."""
    tables = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("table-*.json"))]
    return "\n".join([_HEAD, *(_section(table) for table in tables)]) if tables else ""


def _section(table: Mapping[str, Any]) -> str:
    cells = [Cell(**row) for row in table["rows"]]
    name = f"table-{table['table']}-{table['profile']}"
    machines = ", ".join(sorted({cell.machine for cell in cells}))
    return "\n".join(
        [
            f"## Table {table['table']}, profile {table['profile']}",
            "",
            f"`{_command(table, cells)}`; commit {table['commit'][:7]}; {machines}, {table['machine']['cores']} cores.",
            "",
            as_markdown(lines(cells)),
            f"![Dice of each row over the label budget](../benchmarks/results/{name}.png)",
            "",
        ]
    )


def _command(table: Mapping[str, Any], cells: Sequence[Cell]) -> str:
    options = {"budgets": {cell.budget for cell in cells}, "seeds": {cell.seed for cell in cells}}
    said = " ".join(f"--{name} {' '.join(map(str, sorted(values)))}" for name, values in options.items())
    raw = "" if table["raw_folder"] == PHANTOMS.name else f" --raw FOLDER/{table['raw_folder']}"
    return f'make table-{table["table"]} ARGS="--profile {table["profile"]}{raw} {said}"'
