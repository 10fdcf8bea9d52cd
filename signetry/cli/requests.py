"""``signetry request``: SCEP requests that wait for an administrator's decision."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any

import typer
from sqlmodel import Session

from foundation.errors import BadRequest
from scep.pending import State
from signetry.administration import requests
from signetry.administration.holders import HolderMissing
from signetry.administration.rehearsal import perform
from signetry.administration.requests import ApprovalOrder, Decided, ProfileMissing, RequestView
from signetry.cli.output import JsonFlag, emit_json, emit_record, emit_rows
from signetry.house import House, open_house

app = typer.Typer(no_args_is_help=True, help="SCEP requests that wait for a decision.")

Number = Annotated[int, typer.Argument(metavar="ID", min=1, help="The request's number (signetry request list).")]
Numbers = Annotated[list[int], typer.Argument(metavar="ID…", min=1, help="The requests' numbers (signetry request list).")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be decided.")]

_LISTED = ("id", "state", "endpoint", "subject", "names", "origin", "created_at", "person", "device", "profile")
_DECIDED = ("id", "outcome", "person", "device", "profile", "rejection", "subject")
_COMPARED = ("kind", "requested", "recorded", "agrees")


class Shown(StrEnum):
    """Which requests a list shows: those in one state, or all."""

    WAITING = State.WAITING
    APPROVED = State.APPROVED
    REJECTED = State.REJECTED
    GRANTED = State.GRANTED
    LATE = State.LATE
    ALL = "all"


@app.command("list")
def list_(
    *,
    state: Annotated[
        Shown, typer.Option(help="Only those in this state; late ones wait for a key, not for a decision.")
    ] = Shown.WAITING,
    endpoint: Annotated[str | None, typer.Option(help="Only those of this SCEP endpoint.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
    as_json: JsonFlag = False,
) -> None:
    """List requests, the newest first."""
    house = open_house()
    wanted = None if state is Shown.ALL else State(state.value)
    with house.transactions.reading() as session:
        found = requests.listed(session, house, state=wanted, endpoint=endpoint, before=None, limit=limit)
    emit_rows([_row(each) for each in found], _LISTED, as_json=as_json)


@app.command()
def show(
    number: Number,
    *,
    upn: Annotated[str, typer.Option(help="Hold it against the record of this person: UPN, mail address or number.")] = "",
    device: Annotated[str, typer.Option(help="Hold it against the record of this device: name or number.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Show what a request asks for, beside what the record says of whom it is, or may be, approved for.

    Example: signetry request show 7 --upn alice@example.com
    """
    house = open_house()
    with house.transactions.reading() as session:
        found = requests.show(session, house, number, ApprovalOrder(upn, device))
    if as_json:
        emit_json(asdict(found))
        return
    record = asdict(found)
    comparison, asked_for = record.pop("comparison"), record.pop("asked_for")
    emit_record({**record, **{f"asks for {kind.replace('_', ' ')}": value for kind, value in asked_for.items()}}, as_json=False)
    if comparison:
        typer.echo("")
        emit_rows(comparison, _COMPARED, as_json=False)


@app.command()
def approve(
    numbers: Numbers,
    *,
    upn: Annotated[str, typer.Option(help="The person whose certificate it is to be: UPN, mail address or number.")] = "",
    device: Annotated[str, typer.Option(help="The device it is for: name or number (signetry device list).")] = "",
    profile: Annotated[str, typer.Option(help="The certificate profile; not needed where the endpoint issues only one.")] = "",
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Approve requests, all or none; their clients get the certificates when they ask the next time.

    The names are those on record then. A request for a name that the record does not hold cannot be approved.

    Example: signetry request approve 7 --upn alice@example.com --profile identity
    """
    house = open_house()
    order = ApprovalOrder(upn, device, profile)
    try:
        _carry_out(house, lambda session: requests.approve(session, house, numbers, order), dry_run=dry_run, as_json=as_json)
    except HolderMissing as missing:
        raise BadRequest(f"{missing} with --{missing.field}") from None
    except ProfileMissing as missing:
        raise BadRequest(f"{missing} with --profile") from None


@app.command()
def reject(
    numbers: Numbers,
    *,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, in words that the client is told.")] = "",
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Reject requests, all or none; their clients are told so when they ask the next time.

    Example: signetry request reject 7 8 --reason "unknown device: call the help desk"
    """
    house = open_house()
    _carry_out(house, lambda session: requests.reject(session, house, numbers, reason), dry_run=dry_run, as_json=as_json)


def _carry_out(house: House, act: Callable[[Session], Sequence[Decided]], *, dry_run: bool, as_json: bool) -> None:
    decided = house.transactions.write(lambda session: perform(session, act, dry_run=dry_run))
    rows = [{"outcome": str(each.request.state) if each.changed else "unchanged", **_row(each.request)} for each in decided]
    emit_rows(rows, _DECIDED, as_json=as_json)
    if not as_json:
        for each in (each for each in decided if each.request.comparison):
            typer.echo("")
            typer.echo(f"request {each.request.id} asks for, beside what is on record:")
            emit_rows([asdict(line) for line in each.request.comparison], _COMPARED, as_json=False)
    if dry_run:
        typer.echo("dry run: nothing was changed", err=True)


def _row(request: RequestView) -> dict[str, Any]:
    asked_for = request.asked_for
    return {**asdict(request), "names": [*asked_for.emails, *asked_for.upns, *asked_for.dns_names, *asked_for.uris]}
