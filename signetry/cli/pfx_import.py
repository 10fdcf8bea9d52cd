"""``signetry pfx import``: PKCS #12 files into the key archive."""

import getpass
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from foundation.errors import BadRequest
from people.csv_rows import ENCODINGS
from pkcs_import import csv_list, sources
from pkcs_import.csv_list import FileList
from pkcs_import.import_report import FileReport, Outcome, Totals
from pkcs_import.purpose import Purpose
from pkcs_import.workshop import Workshop
from signetry.administration.pfx_import import importer
from signetry.cli.output import JsonFlag
from signetry.cli.pfx_report import CsvReport, JsonReport, Report, TableReport
from signetry.cli.progress import progress_bar
from signetry.files import read_secret
from signetry.house import open_house

_INTERRUPTED = 130

# \b keeps the lines of the example apart.
IMPORT_HELP = """
Import PKCS #12 files: a single one, those that a CSV file lists, or all .p12
and .pfx files of a folder.

A list names its columns in its first line: file, and any of upn, password and
purpose (signing, encryption, both, authentication). Files lie in its folder,
or in the one of --folder. Where no UPN is given, a file is its whose mail
address is in its certificates.

Private keys are sealed to the archive's key in processes of their own. A file
that is refused is reported and stops no other; the exit code is then 1. What
was imported is not imported again: after an interruption, start the same
command once more.

Example:

\b
upn,file,password,purpose
taro@example.com,taro-2019.pfx,correct horse,encryption
taro@example.com,taro-2023.pfx,battery staple,
"""


class BadImport(BadRequest):
    """The command cannot be understood."""


def import_(  # noqa: PLR0913 - one parameter an option
    source: Annotated[Path, typer.Argument(metavar="FILE|LIST.csv|FOLDER", help="What to import.", exists=True)],
    *,
    upn: Annotated[str, typer.Option(help="Whose the file is: UPN, mail address or number. For a single file.")] = "",
    purpose: Annotated[Purpose | None, typer.Option(help="Take only what is for this. For a single file.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where the files of a list lie; its own folder otherwise.")] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file with the password; without it you are asked. A list's rows overrule it."),
    ] = None,
    encoding: Annotated[str, typer.Option(help=f"The list's encoding: {', '.join(ENCODINGS)}.")] = "utf-8",
    report: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write what became of each file there.")] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, max=64, help="How many files are opened at once; one a processor otherwise.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Open and judge everything, store nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Import PKCS #12 files (IMPORT_HELP)."""
    is_list = source.suffix.lower() == ".csv" and not source.is_dir()
    if (is_list or source.is_dir()) and (upn or purpose):
        raise BadImport("--upn and --purpose are for a single file; a list has columns for them")
    if folder is not None and not is_list:
        raise BadImport("--folder is for a list")
    house = open_house()
    password = _password(password_file, ask=not is_list)
    if is_list:
        wanted = sources.listed(_list(source, encoding), folder or source.parent, password=password)
    elif source.is_dir():
        wanted = sources.in_folder(source, password=password)
    else:
        wanted = sources.one_file(source, owner=upn, password=password, purpose=purpose)
    at_once = min(processes or len(os.sched_getaffinity(0)), wanted.count or 1)
    with Workshop(at_once) as workshop, _reports(report, as_json=as_json) as reports, progress_bar("importing") as progress:
        importing = importer(house, dry_run=dry_run, workshop=workshop, at_once=at_once)
        totals = importing.run(wanted, reports.add, progress)
        reports.end(totals)
    _say(totals, wanted.count)
    if totals.interrupted:
        raise typer.Exit(_INTERRUPTED)
    if totals.counts[Outcome.REFUSED]:
        raise typer.Exit(1)


class _Reports:
    """Several reports as one."""

    def __init__(self, *reports: Report) -> None:
        self._reports = reports

    def add(self, file: FileReport) -> None:
        for report in self._reports:
            report.add(file)

    def end(self, totals: Totals) -> None:
        for report in self._reports:
            report.end(totals)


@contextmanager
def _reports(path: Path | None, *, as_json: bool) -> Iterator[_Reports]:
    shown = JsonReport() if as_json else TableReport()
    if path is None:
        yield _Reports(shown)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        yield _Reports(shown, CsvReport(file))


def _list(path: Path, encoding: str) -> FileList:
    codec = ENCODINGS.get(encoding.lower().replace("_", "-").replace("shift-jis", "shift_jis"))
    if codec is None:
        raise BadImport(f"the encodings are {', '.join(ENCODINGS)}")
    return csv_list.read_list(read_secret(path, "the list", at_most=csv_list.MAX_FILE), codec)


def _password(path: Path | None, *, ask: bool) -> str | None:
    """Return the password in a file; where none is named, what is typed. None where there is nobody to ask."""
    if path is not None:
        try:
            return read_secret(path, "--password-file").decode()
        except UnicodeDecodeError:
            raise BadImport("--password-file: it is not text in UTF-8") from None
    if not ask or not sys.stdin.isatty():
        return None
    return getpass.getpass("Password of the file, or of all files of the folder (none: Enter): ") or None


def _say(totals: Totals, count: int) -> None:
    """Tell the totals, on stderr: stdout is the report's."""
    counts = ", ".join(f"{totals.counts[each]:,} {each}" for each in Outcome)
    marked = f"; {totals.marked:,} with remarks" if totals.marked else ""
    typer.echo(f"dry run, nothing stored: {counts}{marked}" if totals.dry_run else f"{counts}{marked}", err=True)
    if totals.interrupted:
        typer.echo(f"interrupted after {totals.files:,} of {count:,}: the same command goes on from here", err=True)
