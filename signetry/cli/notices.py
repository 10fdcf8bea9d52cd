"""``signetry notice``: mails to persons: what became of them, sending them at once, trying the mail server."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any

import typer

from notices.listing import MailView, State
from signetry.administration import notices
from signetry.cli.output import JsonFlag, emit_json, emit_rows
from signetry.cli.progress import progress_bar
from signetry.house import open_house

app = typer.Typer(no_args_is_help=True, help="Mails to persons.")

_LISTED = ("id", "state", "template", "person", "address", "owed_at", "next_attempt", "sent_at", "failures", "error")


class Shown(StrEnum):
    """Which mails a list shows: those in one state, those not sent yet, or all."""

    WAITING = State.WAITING
    DEFERRED = State.DEFERRED
    SENT = State.SENT
    GIVEN_UP = State.GIVEN_UP
    ALL = "all"


@app.command("list")
def list_(
    *,
    state: Annotated[Shown, typer.Option(help="Only those in this state; deferred ones were tried in vain so far.")] = Shown.ALL,
    upn: Annotated[str | None, typer.Option(help="Only those of this person: UPN, mail address or number.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
    as_json: JsonFlag = False,
) -> None:
    """List mails, the newest first. What they say is shown to nobody."""
    house = open_house()
    wanted = None if state is Shown.ALL else State(state.value)
    with house.transactions.reading() as session:
        found = notices.listed(session, state=wanted, person=upn, limit=limit)
    emit_rows([_row(each) for each in found], _LISTED, as_json=as_json)


@app.command()
def send(
    numbers: Annotated[
        list[int] | None,
        typer.Argument(metavar="[ID…]", min=1, help="The mails' numbers (signetry notice list); all that are owed without any."),
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which would be tried.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Send mails now: those that are owed or, by their numbers, those that were given up, too.

    The exit code is 1 when one could not be sent.

    Example: signetry notice send 7
    """
    house = open_house()
    if dry_run:
        emit_rows([_row(each) for each in notices.wanted(house, numbers or ())], _LISTED, as_json=as_json)
        typer.echo("dry run: nothing was sent", err=True)
        return
    with progress_bar("sending") as progress:
        tried = notices.send(house, numbers or (), progress)
    emit_rows([_row(each) for each in tried.mails], _LISTED, as_json=as_json)
    if tried.unavailable:
        typer.echo(f"signetry: {tried.unavailable}", err=True)
    if not tried.succeeded:
        raise typer.Exit(1)


@app.command("test")
def try_out(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where to send it.")],
    *,
    template: Annotated[str, typer.Option(metavar="NAME", help="Which mail, with made-up values.")] = "test",
    language: Annotated[str, typer.Option(help="In which language: en, ja, or one that you have templates for.")] = "en",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show it.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Try the mail server with a mail to ADDRESS, or look at a template.

    Example: signetry notice test me@example.com --template delivery-link --language ja --dry-run
    """
    tried = notices.try_out(open_house(), address, template=template, language=language, dry_run=dry_run)
    if as_json:
        emit_json(asdict(tried))
        return
    if dry_run:
        typer.echo(f"Subject: {tried.subject}\n\n{tried.text}", nl=False)
    else:
        typer.echo(f"the mail server has taken the mail to {tried.address}")


def _row(mail: MailView) -> dict[str, Any]:
    return asdict(mail)
