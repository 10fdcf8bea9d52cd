"""``signetry ldap``: publication to LDAP directories: at once, how it stands, and what differs."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from ldap_publish.checking import Difference, DifferenceKind
from ldap_publish.status import DirectoryReport
from signetry.administration import directories
from signetry.cli.output import JsonFlag, emit_json, emit_rows
from signetry.cli.progress import progress_bar
from signetry.house import House, open_house

app = typer.Typer(no_args_is_help=True, help="Publication to LDAP directories.")

Named = Annotated[str | None, typer.Option("--directory", metavar="NAME", help="Only this one; all of them without it.")]

_DIFFERENCES = ("directory", "subject", "entry", "attribute", "difference", "serial", "detail")
_CHANGES = ("directory", "subject", "entry", "attribute", "change", "serial", "detail")
_WOULD = {DifferenceKind.MISSING: "add", DifferenceKind.UNEXPECTED: "delete"}


@app.command()
def publish(
    *,
    directory: Named = None,
    everything: Annotated[bool, typer.Option("--all", help="Look at every entry, not only at what is owed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be changed.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Bring the directories up to date now; what failed before is tried again.

    The exit code is 1 when something could not be published. A person who has no entry yet is no failure.

    Example: signetry ldap publish --directory main --all
    """
    house = open_house()
    names = directories.chosen(house, directory)
    if dry_run:
        with progress_bar("comparing") as progress:
            found = list(directories.preview(house, names, everything=everything, progress=progress))
        rows = [_change(each) for each in found]
        emit_rows(rows, _CHANGES, as_json=as_json)
        if any(each.kind is DifferenceKind.UNREACHABLE for each in found):
            raise typer.Exit(1)
        return
    directories.owe_now(house, names, everything=everything)
    results = []
    for name in names:
        with progress_bar(f"publishing to {name}") as progress:
            results.append(directories.drain(house, name, progress))
    emit_rows(
        [asdict(each) for each in results], ("directory", "published", "failed", "waiting", "left", "error"), as_json=as_json
    )
    if not all(each.succeeded for each in results):
        if not as_json:
            typer.echo("signetry ldap status says what failed and why", err=True)
        raise typer.Exit(1)


@app.command()
def status(*, directory: Named = None, as_json: JsonFlag = False) -> None:
    """Show what each directory is owed, and what it refuses, in its own words."""
    house = open_house()
    reports = _reports(house, directory)
    shown = [_shown(each, house.clock.now()) for each in reports]
    if as_json:
        emit_json(shown)
        return
    columns = ("directory", "kind", "state", "pending", "oldest_pending_seconds", "failed", "waiting", "error")
    emit_rows(shown, columns, as_json=False)
    for row in shown:
        for failure in row["failures"]:
            entry = f" ({failure['entry']})" if failure["entry"] else ""
            typer.echo(f"{row['directory']}: {failure['subject']}{entry}: {failure['error']}")
        for warning in row["warnings"]:
            typer.echo(f"{row['directory']}: {warning['subject']}: {warning['warning']}")


@app.command()
def check(*, directory: Named = None, as_json: JsonFlag = False) -> None:
    """Compare the directories with the records, entry by entry, and list the differences; the exit code is 1 with any."""
    house = open_house()
    names = directories.chosen(house, directory)
    with progress_bar("comparing") as progress:
        found = list(directories.check(house, names, progress))
    emit_rows([_difference(each) for each in found], _DIFFERENCES, as_json=as_json)
    if found:
        raise typer.Exit(1)
    if not as_json:
        typer.echo("no differences")


@app.command()
def forget(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The directory, as the settings called it.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many values of ours it is left with.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Forget a directory that the settings do not name any more. What was published there stays there.

    Example: signetry ldap forget old
    """
    left = directories.forget(open_house(), name, dry_run=dry_run)
    if as_json:
        emit_json({"directory": name, "values_left": left, "dry_run": dry_run})
    else:
        typer.echo(f"{'not forgotten, a dry run' if dry_run else 'forgotten'}; values of ours that are left in {name}: {left}")


def _reports(house: House, name: str | None) -> Sequence[DirectoryReport]:
    recorded = directories.reports(house)
    if name is None:
        return recorded
    chosen = [each for each in recorded if each.backlog.directory == name]
    # One that has left the settings may still be asked for by its name.
    return chosen or directories.reports(house, directories.chosen(house, name))


def _shown(report: DirectoryReport, now: datetime) -> dict[str, Any]:
    backlog = report.backlog
    return {
        "directory": backlog.directory,
        "kind": report.kind,
        "state": report.condition,
        "error": report.error,
        "failing_since": report.failing_since,
        "retry_at": report.retry_at,
        "pending": backlog.pending,
        "oldest_pending_seconds": None if backlog.oldest is None else max(0, int((now - backlog.oldest).total_seconds())),
        "failed": backlog.failed,
        "waiting": backlog.waiting,
        "warnings": [asdict(each) for each in report.warnings],
        "failures": [asdict(each) for each in report.failures],
    }


def _difference(difference: Difference) -> dict[str, Any]:
    shown = asdict(difference)
    return {"difference": shown.pop("kind"), **shown}


def _change(difference: Difference) -> dict[str, Any]:
    shown = asdict(difference)
    kind = shown.pop("kind")
    return {"change": _WOULD.get(kind, str(kind)), **shown}
