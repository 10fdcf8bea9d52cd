"""How commands print: a table for people, one JSON document for programs."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def plain(value: object) -> object:
    """Return what stands in JSON for a value that it has no form for."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def emit_json(document: Any) -> None:  # noqa: ANN401 - any JSON document
    """Print ``document`` as JSON; datetimes become ISO 8601."""
    typer.echo(json.dumps(document, default=plain, ensure_ascii=False, indent=2))


def emit_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print ``rows``: all their fields as JSON, or ``columns`` as a table."""
    if as_json:
        emit_json([dict(row) for row in rows])
        return
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        # Text, not str: a name may hold brackets, which rich would take for markup.
        table.add_row(*(Text("" if row.get(column) is None else _cell(row[column])) for column in columns))
    # A terminal gets its own width; a pipe gets every character of every cell.
    console = Console()
    if not console.is_terminal:
        console.width = 10_000
    console.print(table)


def emit_record(record: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one record: as JSON, or a line a field, leaving out what is empty."""
    if as_json:
        emit_json(dict(record))
        return
    width = max((len(key) for key in record), default=0)
    for key, value in record.items():
        if value not in (None, "", (), []):
            typer.echo(f"{key:<{width}}  {_cell(value)}")


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S UTC")
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
