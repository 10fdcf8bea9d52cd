"""A CSV file of certificates to revoke, each with a reason and an invalidity date of its own."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from foundation.errors import BadRequest, SignetryError
from signetry.administration.reach import EVERYTHING, Reach
from signetry.administration.rehearsal import perform
from signetry.administration.revocation import Choice, RevocationOrder, outcome_of, parse_date, parse_reason, revoke
from signetry.house import House

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


def parse(content: bytes, *, name: str) -> list[Line]:
    """Return the rows of a CSV file, UTF-8, whose first line names the columns ``serial[,reason][,invalidity_date]``.

    Errors call the file ``name``.

    Raises:
        BadRevocationList: it cannot be read, has other columns, or no column of serial numbers.
    """
    try:
        rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        columns = [column.strip().lower() for column in rows.fieldnames or ()]
        if "serial" not in columns or not set(columns) <= set(_COLUMNS):
            raise BadRevocationList(
                f"{name}: the first line names the columns: {','.join(_COLUMNS)}; the last two may be left out"
            )
        rows.fieldnames = columns
        return [
            Line(rows.line_num, *((row.get(column) or "").strip() for column in _COLUMNS))
            for row in rows
            if any(isinstance(cell, str) and cell.strip() for cell in row.values())
        ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadRevocationList(f"{name} cannot be read as CSV: {error}") from None


def revoke_lines(
    house: House,
    lines: Sequence[Line],
    order: RevocationOrder,
    *,
    dry_run: bool,
    reach: Reach = EVERYTHING,
    progress: Callable[[int, int], None] | None = None,
) -> list[LineOutcome]:
    """Revoke line by line, as ``order`` says where a line does not; a refusal stops no other.

    ``progress`` is called with how many lines are done, and of how many.
    """
    outcomes: list[LineOutcome] = []
    for start in range(0, len(lines), _BATCH):
        batch = lines[start : start + _BATCH]

        def act(session: Session, batch: Sequence[Line] = batch) -> list[LineOutcome]:
            return [_revoke_line(session, house, line, order, reach) for line in batch]

        outcomes += house.transactions.write(lambda session, act=act: perform(session, act, dry_run=dry_run))  # type: ignore[misc]
        if progress:
            progress(len(outcomes), len(lines))
    return outcomes


def _revoke_line(session: Session, house: House, line: Line, order: RevocationOrder, reach: Reach) -> LineOutcome:
    try:
        since = parse_date(line.invalidity_date) if line.invalidity_date else order.invalidity_date
        why = parse_reason(line.reason) if line.reason else order.reason
        with session.begin_nested():
            (state,) = revoke(session, house, Choice(serials=(line.serial,)), RevocationOrder(why, since), reach)
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
