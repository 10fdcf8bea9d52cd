"""``signetry pfx issue``: encryption certificates whose keys are made here."""

import os
from dataclasses import asdict
from typing import Annotated

import typer

from foundation.errors import BadRequest
from pkcs_import.workshop import Workshop
from signetry.administration import key_making
from signetry.administration.key_making import REFUSED, MakingView
from signetry.cli.output import JsonFlag, emit_record, emit_rows
from signetry.cli.progress import progress_bar
from signetry.house import House, open_house

_LISTED = ("person", "outcome", "serial", "origin", "not_after", "held_until", "problem")


def issue(
    *,
    upn: Annotated[str, typer.Option(help="For this person: UPN, mail address or number.")] = "",
    group: Annotated[str, typer.Option(help="For every active person of this group: name or number.")] = "",
    new_key: Annotated[
        bool, typer.Option("--new-key", help="A new key for --upn, whatever they have; the one before stays in the archive.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say who would get a key.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make encryption keys for persons, certify them and keep them in the archive, from where devices get them.

    Who has a current certificate for encryption in the archive, made here or imported, keeps it; so the command may be repeated,
    and goes on where it was interrupted. One who is refused keeps nobody else from theirs; the exit code is then 1.

    Example: signetry pfx issue --group phones
    """
    if bool(upn) == bool(group):
        raise BadRequest("give --upn or --group")
    if new_key and not upn:
        raise BadRequest("--new-key goes with --upn")
    house = open_house()
    if upn:
        emit_record(asdict(_for_one(house, upn, new_key=new_key, dry_run=dry_run)), as_json=as_json)
    else:
        _for_group(house, group, dry_run=dry_run, as_json=as_json)
    if dry_run:
        typer.echo("dry run: nothing was changed", err=True)


def _for_one(house: House, upn: str, *, new_key: bool, dry_run: bool) -> MakingView:
    with house.transactions.reading() as session:
        order = key_making.new_key_for(house, session, upn) if new_key else key_making.order_for(session, upn)
    with Workshop() as workshop:
        return key_making.make_one(house, workshop, order, dry_run=dry_run)


def _for_group(house: House, group: str, *, dry_run: bool, as_json: bool) -> None:
    with house.transactions.reading() as session:
        persons = key_making.members_of(session, group)
    threads = len(os.sched_getaffinity(0))
    with Workshop(threads) as workshop, progress_bar("making keys") as progress:
        views = key_making.make_all(house, workshop, persons, threads=threads, dry_run=dry_run, progress=progress)
    emit_rows([asdict(view) for view in views], _LISTED, as_json=as_json)
    refused = sum(view.outcome == REFUSED for view in views)
    if refused:
        typer.echo(f"{refused} of {len(views)} refused", err=True)
        raise typer.Exit(1)
