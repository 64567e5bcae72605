"""CSV: the tables that calls answer as JSON, for who asks for them so."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Query, Request

OR_CSV: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
"""What a route is given as `responses` that answers so too."""


def _wants_csv(
    request: Request, format_name: Annotated[Literal["json", "csv"] | None, Query(alias="format")] = None
) -> bool:
    return format_name == "csv" or (format_name is None and "text/csv" in request.headers.get("accept", ""))


AsCsv = Annotated[bool, Depends(_wants_csv)]
"""True where `format` asks for CSV, or the Accept header where there is no `format`."""


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with its head."""
    return csv_rows([columns, *rows])


def csv_rows(rows: Iterable[Sequence[object]]) -> str:
    """Lines of a table."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
