"""``signetry crl``: building CRLs at once, and showing those that are published."""

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlmodel import Session, col, select

from ca import hierarchy
from ca.errors import UnknownAuthority
from crl import publication
from crl.errors import NoCrlYet
from crl.publication import CrlHead
from crl.records import CrlSchedule
from foundation.errors import Unavailable
from signetry.assembly import House, open_house
from signetry.cli.output import JsonFlag, emit_rows

app = typer.Typer(no_args_is_help=True, help="Certificate revocation lists.")

Name = Annotated[str, typer.Argument(metavar="[CA]", help="The authority's name, such as issuing; all of them without it.")]

# A CRL of a million entries takes a worker a few seconds.
_PATIENCE_SECONDS = 30.0
_LOOK_EVERY_SECONDS = 0.2
_COLUMNS = ("ca", "number", "this_update", "next_update", "entries", "bytes")


class NotPublished(Unavailable):
    """A CRL could not be built now."""


@app.command()
def issue(name: Name = "", *, as_json: JsonFlag = False) -> None:
    """Build and publish a new CRL at once.

    Example: signetry crl issue issuing
    """
    house = open_house()
    chosen = _chosen(house, name)
    with house.transactions.reading() as session:
        before = {authority_id: _number(session, authority_id) for authority_id in chosen}
    started = house.clock.now().replace(microsecond=0)

    def owe(session: Session) -> None:
        for authority_id in chosen:
            publication.owe(session, authority_id, house.clock.now())

    house.transactions.write(owe)
    failures = _wait(house, chosen, before, started)
    emit_rows(_rows(house, {key: value for key, value in chosen.items() if value not in failures}), _COLUMNS, as_json=as_json)
    if failures:
        raise NotPublished("; ".join(f"no CRL of {ca}: {reason}" for ca, reason in failures.items()))


def _wait(house: House, chosen: dict[int, str], before: dict[int, int], started: datetime) -> dict[str, str]:
    """Build until every CA of ``chosen`` has a CRL that was begun after ``started``; return the names of others, and why.

    Whoever built it: the service's worker may have been faster.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    waiting = set(chosen)
    failures: dict[str, str] = {}
    while True:
        for outcome in house.publish_crls():
            if outcome.failure and outcome.authority_id in waiting:
                waiting.remove(outcome.authority_id)
                failures[chosen[outcome.authority_id]] = outcome.failure
        with house.transactions.reading() as session:
            for authority_id in sorted(waiting):
                head = publication.current(session, authority_id)
                if head and head.number > before[authority_id] and head.issued_at >= started:
                    waiting.remove(authority_id)
        if not waiting:
            return failures
        if time.monotonic() > deadline:
            return failures | dict.fromkeys((chosen[each] for each in waiting), "the service is building it, and takes long")
        time.sleep(_LOOK_EVERY_SECONDS)


@app.command()
def show(
    name: Name = "",
    *,
    entries: Annotated[bool, typer.Option("--entries", help="List what the CRL of CA lists, instead.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the CRL of CA there, as PEM.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the newest CRLs: number, dates, size, and when the next is due."""
    house = open_house()
    chosen = _chosen(house, name)
    if entries or out:
        if not name:
            raise typer.BadParameter("--entries and --out need the name of one CA")
        crl = _parsed(house, name)
        if out:
            out.write_bytes(crl.public_bytes(Encoding.PEM))
        if entries:
            emit_rows([_entry(entry) for entry in crl], ("serial", "revoked_at", "reason", "invalidity_date"), as_json=as_json)
            return
    emit_rows(_rows(house, chosen), (*_COLUMNS, "due_at"), as_json=as_json)


def _chosen(house: House, name: str) -> dict[int, str]:
    with house.transactions.reading() as session:
        found = {record.id: str(record.name) for record in hierarchy.authorities(session) if name in ("", record.name)}
    if not found:
        raise UnknownAuthority(f"there is no certification authority {name!r}")
    return found


def _number(session: Session, authority_id: int) -> int:
    head = publication.current(session, authority_id)
    return head.number if head else 0


def _rows(house: House, chosen: dict[int, str]) -> list[dict[str, Any]]:
    with house.transactions.reading() as session:
        return [
            _row(session, name, authority_id, publication.current(session, authority_id)) for authority_id, name in chosen.items()
        ]


def _row(session: Session, name: str, authority_id: int, head: CrlHead | None) -> dict[str, Any]:
    due_at = session.exec(select(CrlSchedule.due_at).where(col(CrlSchedule.authority_id) == authority_id)).first()
    if head is None:
        return {"ca": name, "number": None, "due_at": due_at}
    return {
        "ca": name,
        "number": head.number,
        "this_update": head.this_update,
        "next_update": head.next_update,
        "entries": head.entry_count,
        "bytes": len(publication.encoded(session, head.id) or b""),
        "sha256": head.sha256,
        "due_at": due_at,
    }


def _parsed(house: House, name: str) -> x509.CertificateRevocationList:
    with house.transactions.reading() as session:
        head = publication.current_by_name(session, name)
        der = publication.encoded(session, head.id) if head else None
    if der is None:
        raise NoCrlYet(f"{name} has published no CRL yet")
    return x509.load_der_x509_crl(der)


def _entry(entry: x509.RevokedCertificate) -> dict[str, Any]:
    found = {type(extension.value): extension.value for extension in entry.extensions}
    reason = found.get(x509.CRLReason)
    since = found.get(x509.InvalidityDate)
    return {
        "serial": f"{entry.serial_number:032x}",
        "revoked_at": entry.revocation_date_utc,
        "reason": reason.reason.value if isinstance(reason, x509.CRLReason) else "unspecified",
        "invalidity_date": since.invalidity_date_utc if isinstance(since, x509.InvalidityDate) else None,
    }
