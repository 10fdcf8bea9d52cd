"""``signetry crl``: building CRLs at once, and showing those that are published."""

import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.serialization import Encoding
from sqlmodel import Session

from crl import publication
from foundation.errors import Unavailable
from signetry.administration import crls
from signetry.cli.output import JsonFlag, emit_rows
from signetry.house import House, open_house

app = typer.Typer(no_args_is_help=True, help="Certificate revocation lists.")

Name = Annotated[str, typer.Argument(metavar="[CA]", help="The authority's name, such as issuing; all of them without it.")]

# A CRL of a million entries takes a worker a few seconds.
_PATIENCE_SECONDS = 30.0
_LOOK_EVERY_SECONDS = 0.2
_COLUMNS = ("ca", "number", "this_update", "next_update", "entries", "bytes")
_ENTRY_COLUMNS = ("serial", "revoked_at", "reason", "invalidity_date")


class NotPublished(Unavailable):
    """A CRL could not be built now."""


@app.command()
def issue(name: Name = "", *, as_json: JsonFlag = False) -> None:
    """Build and publish a new CRL at once.

    Example: signetry crl issue issuing
    """
    house = open_house()
    with house.transactions.reading() as session:
        before = {authority_id: _number(session, authority_id) for authority_id in crls.chosen(session, name)}
    started = house.clock.now().replace(microsecond=0)
    chosen = house.transactions.write(lambda session: crls.owe(session, house, name))
    failures = _wait(house, chosen, before, started)
    emit_rows([row for row in _rows(house, name) if row["ca"] not in failures], _COLUMNS, as_json=as_json)
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
                if head and head.number > before.get(authority_id, 0) and head.issued_at >= started:
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
    rows = _rows(house, name)
    if entries or out:
        if not name:
            raise typer.BadParameter("--entries and --out need the name of one CA")
        with house.transactions.reading() as session:
            crl = crls.newest(session, name)
        if out:
            out.write_bytes(crl.public_bytes(Encoding.PEM))
        if entries:
            emit_rows([asdict(entry) for entry in crls.entries(crl)], _ENTRY_COLUMNS, as_json=as_json)
            return
    emit_rows(rows, (*_COLUMNS, "due_at"), as_json=as_json)


def _number(session: Session, authority_id: int) -> int:
    head = publication.current(session, authority_id)
    return head.number if head else 0


def _rows(house: House, name: str) -> list[dict[str, Any]]:
    with house.transactions.reading() as session:
        return [asdict(crl) for crl in crls.published(session, name)]
