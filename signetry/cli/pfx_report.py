"""What ``signetry pfx import`` says of each file, as a table, as JSON and as CSV; all of a long import is never in memory."""

import csv
import json
from dataclasses import asdict
from typing import Any, Protocol, TextIO

import typer

from pkcs_import.import_report import FileReport, Outcome, Totals
from signetry.cli.output import emit_rows, plain

# Files that the table shows: the first ones, and of the others those that were refused or have notes.
SHOWN_FILES = 500
SHOWN_PROBLEMS = 500
_TABLE = ("line", "file", "upn", "outcome", "purpose", "trust", "not_after", "remarks")
_CSV = (
    *("line", "file", "upn", "outcome", "reason", "notes", "purpose", "trust", "concerns", "not_after", "subject", "issuer"),
    *("serial", "sha256", "algorithm"),
)
# What makes a spreadsheet take a cell for a formula: names in certificates are strangers' words.
_FORMULAE = ("=", "+", "-", "@", "\t", "\r")


class Report(Protocol):
    """What is told of each file, and of the end."""

    def add(self, file: FileReport) -> None:
        """Say what became of a file."""

    def end(self, totals: Totals) -> None:
        """Say that there are no more."""


class TableReport:
    """A table for people, printed at the end."""

    def __init__(self) -> None:
        """Begin."""
        self._rows: list[dict[str, Any]] = []
        self._problems = 0
        self._unshown = 0

    def add(self, file: FileReport) -> None:
        """Keep a file for the table, while there is room."""
        is_problem = file.outcome is Outcome.REFUSED or bool(file.notes)
        if len(self._rows) < SHOWN_FILES or (is_problem and self._problems < SHOWN_PROBLEMS):
            self._problems += is_problem
            self._rows.append({**_flat(file), "remarks": "; ".join(filter(None, (file.reason, *file.notes)))})
        else:
            self._unshown += 1

    def end(self, totals: Totals) -> None:
        """Print the table."""
        if totals.files:
            emit_rows(self._rows, _TABLE, as_json=False)
        if self._unshown:
            typer.echo(f"… and {self._unshown:,} more; --report FILE.csv and --json name them all", err=True)


class JsonReport:
    """One JSON document, written as the import goes on."""

    def __init__(self) -> None:
        """Begin the document."""
        self._any = False
        typer.echo('{\n"files": [', nl=False)

    def add(self, file: FileReport) -> None:
        """Print a file."""
        typer.echo(("," if self._any else "") + "\n" + json.dumps(asdict(file), default=plain, ensure_ascii=False), nl=False)
        self._any = True

    def end(self, totals: Totals) -> None:
        """End the document with the totals."""
        typer.echo("\n],")
        counted = {
            "dry_run": totals.dry_run,
            "interrupted": totals.interrupted,
            "imported": totals.counts[Outcome.IMPORTED],
            "already_there": totals.counts[Outcome.PRESENT],
            "refused": totals.counts[Outcome.REFUSED],
            "with_notes": totals.marked,
        }
        typer.echo(json.dumps(counted).removeprefix("{"))


class CsvReport:
    """A CSV file, a row for each file."""

    def __init__(self, file: TextIO) -> None:
        """Begin with the header."""
        self._file = file
        self._writer = csv.DictWriter(file, _CSV, extrasaction="ignore")
        self._writer.writeheader()

    def add(self, file: FileReport) -> None:
        """Write a row."""
        self._writer.writerow({name: _cell(value) for name, value in _flat(file).items()})

    def end(self, _totals: Totals) -> None:
        """Have it all in the file."""
        self._file.flush()


def _flat(file: FileReport) -> dict[str, Any]:
    of_certificates = {
        name: [plain(getattr(each, name)) for each in file.certificates]
        for name in ("purpose", "trust", "not_after", "subject", "issuer", "serial", "sha256", "algorithm")
    }
    concerns = dict.fromkeys(str(concern) for each in file.certificates for concern in each.concerns)
    about = {"line": file.line, "file": file.file, "upn": file.upn, "outcome": str(file.outcome), "reason": file.reason}
    return {**about, "notes": list(file.notes), "concerns": list(concerns), **of_certificates}


def _cell(value: object) -> str:
    text = "; ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"'{text}" if text.startswith(_FORMULAE) else text
