"""``signetry intune push-pfx``: persons' encryption keys for the devices that Microsoft Intune manages."""

from collections import Counter
from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from signetry.administration import intune_pfx
from signetry.administration.intune_pfx import Result
from signetry.cli.output import JsonFlag, emit_json, emit_rows
from signetry.cli.progress import progress_bar
from signetry.house import open_house

_COLUMNS = ("upn", "change", "result", "thumbprint", "serial", "not_after", "reason")
# Microsoft's pauses are minutes; an outage that lasts longer is better slept over.
_PATIENCE_SECONDS = 1800.0


def push_pfx(
    *,
    upn: Annotated[list[str] | None, typer.Option(help="Only this person's; may be repeated.")] = None,
    group: Annotated[str | None, typer.Option(help="Only those of this group's members.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be created, updated and deleted.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Bring Intune's imported PKCS #12 certificates up to date with the key archive.

    Every encryption key of an active person is there afterwards, and nothing of anybody who has left. Certificates that are
    not in the archive are not touched. What was interrupted goes on where it ended; the exit code is 1 when something is left.

    Example: signetry intune push-pfx --group phones --dry-run
    """
    if upn and group is not None:
        raise typer.BadParameter("give --upn or --group, not both")
    house = open_house()
    if upn:
        persons = intune_pfx.named(house, upn)
    elif group is not None:
        persons = intune_pfx.members(house, group)
    else:
        persons = intune_pfx.everybody(house)
    with closing(house.archive), progress_bar("comparing" if dry_run else "pushing") as progress:
        pushed = intune_pfx.push(house, persons, dry_run=dry_run, patience_seconds=_PATIENCE_SECONDS, progress=progress)
    rows = [asdict(line) for line in pushed.changes]
    if as_json:
        emit_json({"dry_run": dry_run, "unchanged": pushed.unchanged, "stopped": pushed.stopped, "changes": rows})
    else:
        if rows:
            emit_rows(rows, _COLUMNS, as_json=False)
        counted = Counter(line.result for line in pushed.changes)
        known = [f"{result} {counted[result]}" for result in Result if counted[result]]
        typer.echo(", ".join([*known, f"unchanged {pushed.unchanged}"]))
        if pushed.stopped:
            typer.echo(f"stopped: {pushed.stopped}; run it again, it goes on where it ended", err=True)
    if not pushed.succeeded:
        raise typer.Exit(1)
