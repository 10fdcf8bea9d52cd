"""``signetry pfx recover``: archived keys under dual control. Who acts shows it by an API token, not by a login."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from foundation.errors import BadRequest
from foundation.files import replace_private
from pkcs_import.archive import PackedKey
from pkcs_import.packing import Encoding
from pkcs_import.recovery import Duty, Participant
from pkcs_import.recovery_requests import State
from signetry.access.dual_control import participant
from signetry.administration import recoveries
from signetry.administration.recoveries import ExportOrder, RecoveryOrder, RecoveryView, noting_refusals
from signetry.cli.output import JsonFlag, emit_json, emit_record, emit_rows
from signetry.files import read_secret
from signetry.house import House, open_house

app = typer.Typer(
    no_args_is_help=True, help="Recover a person's archived keys: an officer asks and exports, a recovery agent approves."
)

_MOST = 2**31 - 1

Number = Annotated[int, typer.Argument(metavar="ID", min=1, max=_MOST, help="The request's number (signetry pfx recover list).")]
OfficerToken = Annotated[
    Path,
    typer.Option("--token-file", help="The file with your API token, of role officer (signetry token create).", dir_okay=False),
]
AgentToken = Annotated[
    Path,
    typer.Option("--token-file", help="The file with your API token, of role recovery (signetry token create).", dir_okay=False),
]

_LISTED = ("id", "state", "person", "keys", "reason", "asked_by_person", "asked_at", "decided_by_person", "expires_at")


class Shown(StrEnum):
    """Which requests a list shows: those in one state, or all."""

    WAITING = State.WAITING
    APPROVED = State.APPROVED
    REJECTED = State.REJECTED
    EXPORTED = State.EXPORTED
    EXPIRED = State.EXPIRED
    ALL = "all"


@app.command()
def ask(
    *,
    upn: Annotated[str, typer.Option(help="Whose keys: UPN, mail address or number.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, in a line, for who decides and for the audit record.")],
    key: Annotated[
        int | None, typer.Option(min=1, max=_MOST, help="This archived key (signetry pfx list); without it, the current one.")
    ] = None,
    key_history: Annotated[bool, typer.Option("--key-history", help="All encryption keys of the person, in one file.")] = False,
    token_file: OfficerToken,
    as_json: JsonFlag = False,
) -> None:
    """Ask for a person's keys. A recovery agent, who is somebody else, decides within seven days.

    Example: signetry pfx recover ask --upn alice@example.com --key-history --reason "case 4711" --token-file olga.token
    """
    house, text = open_house(), _token(token_file)
    by = _participant(house, text, Duty.ASKING)
    order = RecoveryOrder(upn, reason, key, key_history)
    with noting_refusals(house, by, "ask", f"person:{upn}"):
        asked = house.transactions.write(lambda session: recoveries.ask(session, house, order, by=by))
    _emit(asked, as_json=as_json)


@app.command()
def approve(number: Number, *, token_file: AgentToken, as_json: JsonFlag = False) -> None:
    """Approve a request: who asked for it may export the keys, once, within an hour."""
    house, text = open_house(), _token(token_file)
    by = _participant(house, text, Duty.DECIDING)
    with noting_refusals(house, by, "approve", f"recovery:{number}"):
        approved = house.transactions.write(lambda session: recoveries.approve(session, house, number, by=by))
    _emit(approved, as_json=as_json)


@app.command()
def reject(number: Number, *, token_file: AgentToken, as_json: JsonFlag = False) -> None:
    """Reject a request; an approval that has not been used yet is taken back."""
    house, text = open_house(), _token(token_file)
    by = _participant(house, text, Duty.DECIDING)
    with noting_refusals(house, by, "reject", f"recovery:{number}"):
        rejected = house.transactions.write(lambda session: recoveries.reject(session, house, number, by=by))
    _emit(rejected, as_json=as_json)


@app.command()
def export(
    number: Number,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the PKCS #12 goes; a new directory.")],
    encoding: Annotated[
        Encoding, typer.Option(help="How it is encrypted: 3des where the importer is old, such as gpgsm, Outlook, Apple.")
    ] = Encoding.MODERN,
    separate: Annotated[
        bool, typer.Option("--separate", help="A file for each key: gpgsm, for one, reads only the first key of a file.")
    ] = False,
    token_file: OfficerToken,
    as_json: JsonFlag = False,
) -> None:
    """Export the keys of an approved request, once, and show the passphrase of the file, which is kept nowhere.

    Example: signetry pfx recover export 7 --out alice --token-file olga.token
    """
    house, text = open_house(), _token(token_file)
    by = _participant(house, text, Duty.ASKING)
    # The directory before anything is exported: there is no second time for what could not be written.
    with closing(house.archive), _new_directory(out), noting_refusals(house, by, "export", f"recovery:{number}"):
        recovered = recoveries.export(house, number, ExportOrder(encoding, separate), token=text, by=by)
        files = [{"file": str(_write(out, each)), "keys": each.key_ids} for each in recovered.files]
    if as_json:
        emit_json({"id": number, "passphrase": recovered.passphrase, "files": files})
        return
    emit_record({"id": number, "passphrase": recovered.passphrase}, as_json=False)
    typer.echo("")
    emit_rows(files, ("file", "keys"), as_json=False)


@app.command("list")
def list_(
    *,
    state: Annotated[Shown, typer.Option(help="Only those in this state.")] = Shown.ALL,
    upn: Annotated[str | None, typer.Option(help="Only for this person's keys: UPN, mail address or number.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
    as_json: JsonFlag = False,
) -> None:
    """List requests, the newest first."""
    house = open_house()
    wanted = None if state is Shown.ALL else State(state.value)
    with house.transactions.reading() as session:
        found = recoveries.listed(session, house, state=wanted, person=upn, before=None, limit=limit)
    rows = [asdict(each) for each in found]
    emit_rows(rows if as_json else [{**row, "keys": len(row["keys"])} for row in rows], _LISTED, as_json=as_json)


@app.command()
def show(number: Number, *, as_json: JsonFlag = False) -> None:
    """Show a request, and the keys that it would bring."""
    house = open_house()
    with house.transactions.reading() as session:
        found = recoveries.show(session, house, number)
    _emit(found, as_json=as_json)


def _token(path: Path) -> str:
    try:
        return read_secret(path, "--token-file").decode("ascii").strip()
    except UnicodeDecodeError:
        raise BadRequest("--token-file: the file holds no API token") from None


def _participant(house: House, token: str, duty: Duty) -> Participant:
    with house.transactions.reading() as session:
        return participant(session, token, duty, now=house.clock.now())


@contextmanager
def _new_directory(path: Path) -> Iterator[None]:
    """Make a directory for its owner alone; where what happens inside goes wrong before it holds anything, it goes again."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        raise BadRequest(f"--out: {path} is there already; name a new directory") from None
    try:
        yield
    except BaseException:
        with suppress(OSError):
            path.rmdir()
        raise


def _write(directory: Path, packed: PackedKey) -> Path:
    path = directory / Path(packed.name).name
    replace_private(path, packed.pkcs12)
    return path


def _emit(found: RecoveryView, *, as_json: bool) -> None:
    record: dict[str, Any] = asdict(found)
    keys = record.pop("keys")
    if as_json:
        emit_record({**record, "keys": keys}, as_json=True)
        return
    emit_record(record, as_json=False)
    typer.echo("")
    emit_rows(keys, ("id", "algorithm", "subject", "serial", "not_after"), as_json=False)
