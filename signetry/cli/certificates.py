"""``signetry cert``: which certificates there are, whose they are, and taking them back."""

import base64
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from sqlmodel import Session

from ca import selection
from ca.profiles import profile_named
from ca.revocation import RevocationReason, RevokedCertificate
from ca.selection import CertificateSummary, Criteria, Status
from foundation.errors import BadRequest
from people.devices import device_named
from people.persons import person_named
from signetry.administration import certificate_view, revocation, revocation_list
from signetry.administration.certificate_view import Encoding
from signetry.administration.rehearsal import perform
from signetry.administration.revocation import Choice, RevocationOrder, parse_date, parse_reason
from signetry.cli.durations import parse_duration
from signetry.cli.output import JsonFlag, emit_json, emit_record, emit_rows
from signetry.cli.progress import progress_bar
from signetry.house import House, open_house

app = typer.Typer(no_args_is_help=True, help="Certificates: list, show, export, revoke.")

Serial = Annotated[str, typer.Argument(metavar="SERIAL", help="Serial number in hexadecimal, with or without colons.")]
Serials = Annotated[list[str], typer.Argument(metavar="SERIAL…", help="Serial numbers in hexadecimal, with or without colons.")]

_LISTED = ("serial", "status", "person", "device", "profile", "authority", "not_after")
_CHANGED = ("serial", "outcome", "reason", "revoked_at", "subject")
_CRL_NOTE = "The running service publishes the new CRL within a second; signetry crl issue does so at once."


_REASON_HELP = f"Why, by its name in RFC 5280: {', '.join(revocation.REASONS)}."


@app.command("list")
def list_(
    *,
    upn: Annotated[str, typer.Option(help="Only those of this person: UPN, mail address or number.")] = "",
    device: Annotated[str, typer.Option(help="Only those of this device: name or number.")] = "",
    profile: Annotated[str | None, typer.Option(help="Only those of this profile.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only those in this state.")] = None,
    expiring: Annotated[str, typer.Option(metavar="30d", help="Only those that expire within this time.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
    page: Annotated[int, typer.Option(min=1, help="Which page of that many, from 1.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """List certificates, the newest first.

    Example: signetry cert list --status good --expiring 30d
    """
    house = open_house()
    now = house.clock.now()
    with house.transactions.reading() as session:
        criteria = Criteria(
            person_id=person_named(session, upn).id if upn else None,
            device_id=device_named(session, device).id if device else None,
            profile=profile_named(profile).name if profile else None,
            status=status,
            expiring_before=now + parse_duration(expiring) if expiring else None,
        )
        found = selection.matching(session, criteria, now=now, limit=limit, offset=(page - 1) * limit)
        rows = certificate_view.summaries(session, found)
    emit_rows(rows, _LISTED, as_json=as_json)


@app.command()
def show(serial: Serial, *, as_json: JsonFlag = False) -> None:
    """Show whose a certificate is, what it says, and what it is worth."""
    house = open_house()
    with house.transactions.reading() as session:
        certificate = selection.by_serial(session, serial, now=house.clock.now())
        record = certificate_view.full(session, certificate)
    emit_record(record, as_json=as_json)


@app.command()
def export(
    serial: Serial,
    *,
    encoding: Annotated[Encoding, typer.Option("--format", help="PEM, DER, or PEM with the issuers behind.")] = Encoding.PEM,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to; standard output without it.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a certificate to a file."""
    house = open_house()
    with house.transactions.reading() as session:
        certificate = selection.by_serial(session, serial, now=house.clock.now())
        data = certificate_view.exported(session, certificate, encoding)
    if out:
        out.write_bytes(data)
    if as_json:
        text = base64.b64encode(data).decode() if encoding is Encoding.DER else data.decode()
        emit_json({"serial": certificate.serial, "format": str(encoding), "file": out and str(out), "certificate": text})
    elif not out:
        typer.echo(data, nl=False)


@app.command()
def revoke(  # noqa: PLR0913 - one parameter an option
    serials: Annotated[list[str] | None, typer.Argument(metavar="SERIAL…", help="Serial numbers in hexadecimal.")] = None,
    *,
    upn: Annotated[str, typer.Option(help="All of this person's: UPN, mail address or number.")] = "",
    device: Annotated[str, typer.Option(help="All of this device's: name or number.")] = "",
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Those in a file: serial[,reason][,invalidity_date].")] = None,
    reason: Annotated[str, typer.Option(metavar="REASON", help=_REASON_HELP)] = RevocationReason.UNSPECIFIED,
    invalidity_date: Annotated[
        str, typer.Option(metavar="DATE", help="Since when the key is not to be trusted: 2026-05-31, or with T and a time.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be revoked.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask at a terminal, with --upn and --device.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Revoke certificates. What is revoked for this reason already stays as it is.

    Serial numbers, and all of a person or device, are revoked together or not at all; the rows of a file one by one, and the exit
    code is 1 when one of them was refused.

    Example: signetry cert revoke 4f:02:… --reason keyCompromise
    """
    if sum(map(bool, (serials, upn or device, csv))) != 1:
        raise BadRequest("give serial numbers, or --upn or --device, or --csv")
    order = RevocationOrder(parse_reason(reason), parse_date(invalidity_date) if invalidity_date else None)
    house = open_house()
    if csv:
        _revoke_file(house, csv, order, dry_run=dry_run, as_json=as_json)
        return
    with house.transactions.reading() as session:
        chosen = revocation.chosen(session, house, Choice(tuple(serials or ()), upn, device))
    if not chosen:
        typer.echo("nothing to revoke", err=True)
    elif not serials and not dry_run:
        _confirm(chosen, yes=yes)
    # What was shown is what is revoked, whatever has been issued since.
    choice = Choice(tuple(certificate.serial for certificate in chosen)) if chosen else None

    def act(session: Session) -> list[RevokedCertificate]:
        return revocation.revoke(session, house, choice, order) if choice else []

    _carry_out(house, act, dry_run=dry_run, as_json=as_json)


@app.command()
def hold(serials: Serials, *, as_json: JsonFlag = False) -> None:
    """Put certificates on hold: revoked until they are released, or revoked for good."""
    house = open_house()
    _carry_out(house, lambda session: revocation.hold(session, house, Choice(tuple(serials))), as_json=as_json)


@app.command()
def release(serials: Serials, *, as_json: JsonFlag = False) -> None:
    """Take certificates off hold."""
    house = open_house()
    _carry_out(house, lambda session: revocation.release(session, house, Choice(tuple(serials))), as_json=as_json)


def _confirm(chosen: Sequence[CertificateSummary], *, yes: bool) -> None:
    """Let whoever sits at a terminal and named no serial number see what that means; a program has nobody to ask."""
    if yes or not sys.stdin.isatty():
        return
    for certificate in chosen:
        typer.echo(f"{certificate.serial}  {certificate.profile}  {certificate.subject}", err=True)
    typer.confirm(f"Revoke these {len(chosen)} certificates?", abort=True, err=True)


def _carry_out(
    house: House,
    act: Callable[[Session], list[RevokedCertificate]],
    *,
    dry_run: bool = False,
    as_json: bool,
) -> None:
    states = house.transactions.write(lambda session: perform(session, act, dry_run=dry_run))
    rows = [
        {
            "serial": state.serial,
            "outcome": revocation.outcome_of(state),
            "reason": state.reason and str(state.reason),
            "revoked_at": state.revoked_at,
            "invalidity_date": state.invalidity_date,
            "profile": state.profile,
            "subject": state.subject,
        }
        for state in states
    ]
    emit_rows(rows, _CHANGED, as_json=as_json)
    _conclude(changed=any(state.changed for state in states), dry_run=dry_run)


def _revoke_file(house: House, path: Path, order: RevocationOrder, *, dry_run: bool, as_json: bool) -> None:
    lines = revocation_list.parse(path.read_bytes(), name=str(path))
    with progress_bar("revoking") as progress:
        outcomes = revocation_list.revoke_lines(house, lines, order, dry_run=dry_run, progress=progress)
    emit_rows([asdict(outcome) for outcome in outcomes], ("line", "serial", "outcome", "reason", "problem"), as_json=as_json)
    refused = sum(outcome.outcome == "refused" for outcome in outcomes)
    _conclude(changed=any(outcome.outcome in ("revoked", "held") for outcome in outcomes), dry_run=dry_run)
    if refused:
        typer.echo(f"{refused} of {len(outcomes)} refused", err=True)
        raise typer.Exit(1)


def _conclude(*, changed: bool, dry_run: bool) -> None:
    """Say, beside the output proper, what happens next."""
    if dry_run:
        typer.echo("dry run: nothing was changed", err=True)
    elif changed:
        typer.echo(_CRL_NOTE, err=True)
