"""``signetry ca rollover``: an issuing CA's successor, step by step, and a new key for its RA."""

import sys
from typing import Annotated

import typer

from ca import hierarchy
from signetry.administration import rollover
from signetry.administration.installation import settle_in
from signetry.administration.rollover import SuccessorOrder, Taken
from signetry.cli.authority import key_of
from signetry.cli.output import JsonFlag, emit_json, emit_record
from signetry.house import open_house
from signetry.setup import write_request

app = typer.Typer(no_args_is_help=True, help="Replace an issuing CA, or the key of its RA, while clients go on enrolling.")

_KEYS_HELP = f"The successor's key: {', '.join(hierarchy.ISSUING_ALGORITHMS)}; without it, of the kind that its predecessor has."
_CSR_HELP = "Have somebody else's authority certify it: make a certificate request."

Lineage = Annotated[str, typer.Argument(metavar="CA", help="The issuing CA as endpoints name it, such as issuing.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what it would mean.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask at a terminal.")]


@app.command()
def prepare(
    name: Lineage = hierarchy.ISSUING,
    *,
    ca_key: Annotated[str, typer.Option(help=_KEYS_HELP)] = "",
    csr: Annotated[bool, typer.Option("--csr", help=_CSR_HELP)] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make the successor of an issuing CA: a key, a certificate, an RA key, a CRL. It issues nothing yet.

    Clients that ask (GetNextCACert) are told of it from now on. The same command again changes nothing.

    Example: signetry ca rollover prepare issuing
    """
    house = open_house()
    house.require_complete()
    made = rollover.prepare(house, SuccessorOrder(name, key_of(ca_key), csr))
    problems = settle_in(house)
    if made.certificate is None:
        request = write_request(house, made.name, made.request)
        following = f"have {request} signed, then: signetry ca install FILE --name {made.name}"
    else:
        following = f"publish {made.name} wherever CAs are trusted one by one, then: signetry ca rollover activate {name}"
    record: dict[str, object] = {
        "name": made.name,
        "succeeds": made.succeeds,
        "created": made.is_new,
        "subject": made.subject,
        "serial": None if made.certificate is None else f"{made.certificate.serial_number:032x}",
        "valid_until": None if made.certificate is None else made.certificate.not_valid_after_utc,
        "next": following,
        "warnings": problems,
    }
    if as_json:
        emit_json({**record, "request": made.request or None})
    else:
        emit_record(record, as_json=False)


@app.command()
def activate(
    name: Lineage = hierarchy.ISSUING,
    *,
    dry_run: DryRun = False,
    force: Annotated[bool, typer.Option("--force", help="Even if it may not issue all that endpoints offer.")] = False,
    yes: Yes = False,
    as_json: JsonFlag = False,
) -> None:
    """Let the prepared successor take over, in running services within a second. There is no way back.

    Example: signetry ca rollover activate issuing
    """
    house = open_house()
    house.require_complete()
    _confirm(rollover.activate(house, name, dry_run=True, force=force), yes=yes or dry_run)
    _emit(rollover.activate(house, name, dry_run=dry_run, force=force), dry_run=dry_run, as_json=as_json)


@app.command()
def retire(
    name: Annotated[str, typer.Argument(metavar="CA", help="The former CA by its own name, as signetry ca list shows it.")],
    *,
    dry_run: DryRun = False,
    force: Annotated[bool, typer.Option("--force", help="Even if certificates of it are good and could not be renewed.")] = False,
    yes: Yes = False,
    as_json: JsonFlag = False,
) -> None:
    """Retire a former CA, or give up one that is prepared. Its CRL goes on until its last certificate has expired.

    Example: signetry ca rollover retire issuing
    """
    house = open_house()
    house.require_complete()
    _confirm(rollover.retire(house, name, dry_run=True, force=force), yes=yes or dry_run)
    _emit(rollover.retire(house, name, dry_run=dry_run, force=force), dry_run=dry_run, as_json=as_json)


@app.command()
def ra(name: Lineage = hierarchy.ISSUING, *, as_json: JsonFlag = False) -> None:
    """Make a new RA key at once. Requests made to the one before are read until its certificate expires.

    The worker does this by itself, 30 days before the end. Where an RA key is lost, revoke its certificate instead.

    Example: signetry ca rollover ra issuing
    """
    house = open_house()
    house.require_complete()
    made = house.transactions.write(lambda session: rollover.renew_ra(house, name, session))
    record = {
        "authority": name,
        "subject": made.certificate.subject.rfc4514_string(),
        "serial": f"{made.certificate.serial_number:032x}",
        "valid_until": made.certificate.not_valid_after_utc,
    }
    emit_record(record, as_json=as_json)


def _confirm(would: Taken, *, yes: bool) -> None:
    """Let whoever sits at a terminal see what a step means before it is taken; a program has nobody to ask."""
    if yes or not would.changed or not sys.stdin.isatty():
        return
    for consequence in would.consequences:
        typer.echo(f"- {consequence}", err=True)
    typer.confirm("Go on?", abort=True, err=True)


def _emit(taken: Taken, *, dry_run: bool, as_json: bool) -> None:
    record = {
        "name": taken.name,
        "changed": taken.changed and not dry_run,
        "state": str(taken.standing),
        "consequences": list(taken.consequences),
    }
    if as_json:
        emit_json(record)
        return
    emit_record({key: value for key, value in record.items() if key != "consequences"}, as_json=False)
    for consequence in taken.consequences:
        typer.echo(f"- {consequence}")
