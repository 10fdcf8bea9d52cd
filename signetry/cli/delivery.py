"""``signetry pfx deliver``: a person's encryption keys, the current one and its predecessors, for a device of theirs."""

from contextlib import closing
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from foundation.errors import BadRequest
from foundation.files import create_private
from pkcs_import.archive import PackedKey
from pkcs_import.delivery import Method, State
from pkcs_import.delivery_targets import Target
from signetry.administration import deliveries
from signetry.administration.deliveries import DeliveryRequest, Ordered
from signetry.administration.rehearsal import perform
from signetry.cli.durations import parse_duration
from signetry.cli.output import JsonFlag, emit_json, emit_record, emit_rows
from signetry.house import House, open_house

app = typer.Typer(
    no_args_is_help=True, help="Deliver a person's encryption keys, with all predecessors, to a registered device of theirs."
)

_MOST = 2**31 - 1

Upn = Annotated[str, typer.Option(help="Whose keys: UPN, mail address or number.")]
Device = Annotated[str, typer.Option(help="The person's device: name or number (signetry device list).")]
For = Annotated[
    Target | None,
    typer.Option(
        "--for", help="What imports the file, which decides its encoding; without it, by the method and the device's platform."
    ),
]
Separate = Annotated[
    bool | None,
    typer.Option(
        "--separate/--together", help="Each key by itself, or all in one file; without it, as what imports them takes them."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say which keys would be delivered, and how.")]
Number = Annotated[int, typer.Argument(metavar="ID", min=1, max=_MOST, help="The delivery's number (signetry pfx deliver list).")]

_LISTED = ("id", "state", "person", "device", "method", "encoding", "keys", "ordered_by", "ordered_at", "expires_at", "ended_at")
_PLANNED = ("key", "subject", "serial", "not_after")


class Shown(StrEnum):
    """Which deliveries a list shows: those in one state, or all."""

    READY = State.READY
    FETCHED = State.FETCHED
    HANDED = State.HANDED
    EXPIRED = State.EXPIRED
    STOPPED = State.STOPPED
    ALL = "all"


@app.command()
def link(
    *,
    upn: Upn,
    device: Device,
    target: For = None,
    separate: Separate = None,
    ttl: Annotated[
        str, typer.Option(help="How long it may be fetched: 90s, 15m, 1h, 7d; without it, what the settings say.")
    ] = "",
    mail: Annotated[bool, typer.Option("--mail", help="Mail the link to the person, and show it to nobody else.")] = False,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a link that the person opens on the device: what is behind it, a file or a ZIP archive of several, is fetched once.

    The passphrase of the file is shown now and never again: tell it to the person by another way than the link.

    Example: signetry pfx deliver link --upn alice@example.com --device alice-iphone --mail
    """
    lifetime = parse_duration(ttl) if ttl else None
    request = DeliveryRequest(upn, device, Method.LINK, target, separate, send_link=mail, lifetime=lifetime)
    house = open_house()
    if dry_run:
        _plan(house, request, as_json=as_json)
        return
    _emit(_order(house, request), as_json=as_json)


@app.command()
def file(
    *,
    upn: Upn,
    device: Device,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the PKCS #12 goes, a new file; for separate ones a folder.")],
    target: For = None,
    separate: Separate = None,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Write the keys to a file, for a desktop. The passphrase is shown now and never again.

    Example: signetry pfx deliver file --upn alice@example.com --device alice-desktop --out alice.p12
    """
    request = DeliveryRequest(upn, device, Method.FILE, target, separate)
    house = open_house()
    if dry_run:
        _plan(house, request, as_json=as_json)
        return
    planned = house.transactions.write(lambda session: deliveries.plan(session, house, request))
    if planned.separate and not out.is_dir():
        raise BadRequest(f"--out: {out} is no folder, and each key gets a file of its own; --together puts them into one")
    # Before anything is ordered: its passphrase is shown once the files are written.
    if not planned.separate and not out.parent.is_dir():
        raise BadRequest(f"--out: {out.parent} is no folder")
    there = min(out.glob("encryption-keys-*.p12"), default=None) if planned.separate else out if out.exists() else None
    if there is not None:
        raise BadRequest(f"--out: {there} is there already")
    ordered = _order(house, request)
    written = [_write(out / packed.name if planned.separate else out, packed) for packed in ordered.files]
    deliveries.handed(house, ordered.delivery.id)
    with house.transactions.reading() as session:
        shown = asdict(deliveries.show(session, ordered.delivery.id))
    emit_record({**shown, "files": written, "passphrase": ordered.passphrase}, as_json=as_json)


@app.command()
def mail(
    *,
    upn: Upn,
    device: Device,
    target: For = None,
    separate: Separate = None,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Mail the keys to the person as an attachment, which Outlook on the phone opens into its own keychain.

    The passphrase is shown now and never again: tell it to the person by another way.

    Example: signetry pfx deliver mail --upn alice@example.com --device alice-iphone
    """
    request = DeliveryRequest(upn, device, Method.MAIL, target, separate)
    house = open_house()
    if dry_run:
        _plan(house, request, as_json=as_json)
        return
    _emit(_order(house, request), as_json=as_json)


@app.command("list")
def list_(
    *,
    upn: Annotated[str | None, typer.Option(help="Only this person's keys: UPN, mail address or number.")] = None,
    device: Annotated[str | None, typer.Option(help="Only to this device: name or number.")] = None,
    state: Annotated[Shown, typer.Option(help="Only those in this state.")] = Shown.ALL,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
    as_json: JsonFlag = False,
) -> None:
    """List deliveries, the newest first: which keys are, or are not, on which device."""
    wanted = None if state is Shown.ALL else State(state.value)
    with open_house().transactions.reading() as session:
        found = deliveries.listed(session, person=upn, device=device, state=wanted, limit=limit)
    rows = [asdict(each) for each in found]
    emit_rows(rows if as_json else [{**row, "keys": len(row["keys"])} for row in rows], _LISTED, as_json=as_json)


@app.command()
def show(number: Number, *, as_json: JsonFlag = False) -> None:
    """Show a delivery and the keys in it."""
    with open_house().transactions.reading() as session:
        found = deliveries.show(session, number)
    emit_record(asdict(found), as_json=as_json)


@app.command()
def stop(
    number: Number,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Stop a delivery that nobody has fetched yet: its link leads to nothing from now on."""
    house = open_house()
    stopped = house.transactions.write(
        lambda session: perform(session, lambda session: deliveries.stop(session, house, number), dry_run=dry_run)
    )
    emit_record(asdict(stopped), as_json=as_json)
    if dry_run:
        typer.echo("dry run: nothing was changed", err=True)


def _plan(house: House, request: DeliveryRequest, *, as_json: bool) -> None:
    planned = asdict(house.transactions.write(lambda session: deliveries.plan(session, house, request)))
    if as_json:
        emit_json(planned)
    else:
        keys = planned.pop("keys")
        emit_record(planned, as_json=False)
        typer.echo("")
        emit_rows(keys, _PLANNED, as_json=False)
    typer.echo("dry run: nothing was changed", err=True)


def _order(house: House, request: DeliveryRequest) -> Ordered:
    with closing(house.archive):
        return deliveries.order(house, request)


def _emit(ordered: Ordered, *, as_json: bool) -> None:
    shown: dict[str, Any] = asdict(ordered.delivery)
    emit_record(
        {**shown, "link": ordered.link, "mailed_to": ordered.mailed_to, "passphrase": ordered.passphrase}, as_json=as_json
    )


def _write(path: Path, packed: PackedKey) -> str:
    create_private(path, packed.pkcs12)
    return str(path)
