"""The file behind ``cert revoke --csv``: which certificates, each with a reason and an invalidity date of its own."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlmodel import Session

from ca.revocation import RevocationReason, RevokedCertificate, revoke
from ca.selection import by_serial
from foundation.errors import BadRequest, SignetryError
from signetry.assembly import House

# removeFromCRL is what a release leaves in a delta CRL: nobody gives it as a reason.
REASONS = tuple(reason for reason in RevocationReason if reason is not RevocationReason.REMOVE_FROM_CRL)

_COLUMNS = ("serial", "reason", "invalidity_date")
# Rows that share a transaction, each in a savepoint of its own: a commit a row would take minutes for a large file.
_BATCH = 200


class BadRevocationList(BadRequest):
    """The file is no list of certificates to revoke."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the file as written; ``number`` is its line, the header being line 1."""

    number: int
    serial: str
    reason: str
    invalidity_date: str


@dataclass(frozen=True, slots=True)
class LineOutcome:
    """What became of a row: ``revoked``, ``unchanged`` where it was so before, or ``refused`` and why."""

    line: int
    serial: str
    outcome: str
    reason: str | None = None
    revoked_at: datetime | None = None
    subject: str = ""
    problem: str = ""


class _Undo(Exception):
    """Takes what would have happened out of a transaction that must not happen."""

    def __init__(self, outcomes: list[LineOutcome]) -> None:
        super().__init__()
        self.outcomes = outcomes


def parse_date(text: str) -> datetime:
    """Return the time that ISO 8601 ``text`` stands for; without a zone it is UTC, without a time midnight.

    Raises:
        BadRequest: it is no ISO 8601 date.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadRequest(f"{text!r} is no date: write 2026-05-31, or 2026-05-31T14:00:00Z") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_reason(text: str) -> RevocationReason:
    """Return the reason called ``text`` in RFC 5280, in capitals or not.

    Raises:
        BadRequest: there is none of this name.
    """
    for reason in RevocationReason:
        if reason.lower() == text.strip().lower():
            return reason
    raise BadRequest(f"{text!r} is no reason to revoke: {', '.join(REASONS)}")


def read(path: Path) -> list[Line]:
    """Return the rows of a CSV file, UTF-8, whose first line names the columns ``serial[,reason][,invalidity_date]``.

    Raises:
        BadRevocationList: it cannot be read, has other columns, or no column of serial numbers.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            names = [name.strip().lower() for name in rows.fieldnames or ()]
            if "serial" not in names or not set(names) <= set(_COLUMNS):
                raise BadRevocationList(
                    f"{path}: the first line names the columns: {','.join(_COLUMNS)}; the last two may be left out"
                )
            rows.fieldnames = names
            return [
                Line(rows.line_num, *((row.get(column) or "").strip() for column in _COLUMNS))
                for row in rows
                if any(isinstance(cell, str) and cell.strip() for cell in row.values())
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadRevocationList(f"{path} cannot be read as CSV: {reason}") from None


def revoke_lines(
    house: House,
    lines: Sequence[Line],
    reason: RevocationReason,
    invalidity_date: datetime | None,
    *,
    dry_run: bool,
    progress: Callable[[int, int], None] | None = None,
) -> list[LineOutcome]:
    """Revoke line by line, for ``reason`` and since ``invalidity_date`` where a line names none; a refusal stops no other.

    ``progress`` is called with how many lines are done, and of how many.
    """
    outcomes: list[LineOutcome] = []
    for start in range(0, len(lines), _BATCH):
        batch = lines[start : start + _BATCH]

        def act(session: Session, batch: Sequence[Line] = batch) -> list[LineOutcome]:
            done = [_revoke_line(session, house, line, reason, invalidity_date) for line in batch]
            if dry_run:
                raise _Undo(done)
            return done

        try:
            outcomes += house.transactions.write(act)
        except _Undo as undone:
            outcomes += undone.outcomes
        if progress:
            progress(len(outcomes), len(lines))
    return outcomes


def _revoke_line(
    session: Session, house: House, line: Line, reason: RevocationReason, invalidity_date: datetime | None
) -> LineOutcome:
    now = house.clock.now()
    try:
        since = parse_date(line.invalidity_date) if line.invalidity_date else invalidity_date
        why = parse_reason(line.reason) if line.reason else reason
        with session.begin_nested():
            found = by_serial(session, line.serial, now=now)
            (state,) = revoke(
                session,
                [found.id],
                why,
                invalidity_date=since,
                actor=house.actor,
                now=now,
                listeners=house.revocation_listeners,
            )
    except SignetryError as error:
        return LineOutcome(line.number, line.serial, "refused", problem=str(error))
    return LineOutcome(
        line=line.number,
        serial=state.serial,
        outcome=outcome_of(state),
        reason=state.reason and str(state.reason),
        revoked_at=state.revoked_at,
        subject=state.subject,
    )


def outcome_of(state: RevokedCertificate) -> str:
    """Say in a word what an act did."""
    if not state.changed:
        return "unchanged"
    if state.reason is None:
        return "released"
    return "held" if state.reason is RevocationReason.CERTIFICATE_HOLD else "revoked"
