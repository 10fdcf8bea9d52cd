"""Persons from a CSV file into the store.

A row whose UPN is new adds a person, any other changes the one who has it, so that importing a file twice does nothing the
second time. A column that is absent leaves its field alone; an empty cell empties it. A row that is refused is reported with its
line and field and stops no other. Whatever makes the file as a whole unusable is found before anything is stored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import BinaryIO, Literal

from sqlmodel import Session

from audit.log import Actor
from foundation.clock import Clock
from foundation.transactions import Transactions
from people.csv_rows import PersonRow, RowProblem, read_file
from people.errors import AlreadyTaken
from people.person import PersonRecord, changed_fields
from people.persons import (
    PersonListener,
    add_person,
    change_person,
    deactivate_person,
    find_persons_by_upn,
    reactivate_person,
)

# Rows that share a transaction: enough to spread the cost of the commit, few enough that an enrolment behind it hardly waits.
BATCH = 200

Outcome = Literal["added", "changed", "unchanged"]
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class ImportReport:
    """What became of the rows, or would become of them in a dry run. ``problems`` has one entry for each row refused."""

    dry_run: bool
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    problems: list[RowProblem] = field(default_factory=list)

    @property
    def refused(self) -> int:
        """How many rows were refused."""
        return len(self.problems)


class _Rehearsed(Exception):
    """Ends the transaction of a dry run, carrying what it would have done."""

    def __init__(self, outcomes: list[Outcome | RowProblem]) -> None:
        super().__init__()
        self.outcomes = outcomes


@dataclass(frozen=True, slots=True)
class PersonImport:
    """How to import: into which store, as whom, and whether in earnest. The ``listeners`` are told of every person changed.

    A file of more rows than ``most_rows`` is refused. ``progress`` is called after every batch with the rows done and the rows
    there are.
    """

    transactions: Transactions
    clock: Clock
    actor: Actor
    encoding: str = "utf-8"
    dry_run: bool = False
    progress: Progress | None = None
    listeners: Sequence[PersonListener] = ()
    most_rows: int | None = None

    def run(self, source: BinaryIO) -> ImportReport:
        """Import the file ``source``.

        A dry run does the same work and takes each batch back, so it finds everything but what one batch frees for another.

        Raises:
            ImportRefused: the file as a whole cannot be imported; nothing was stored.
            Unavailable: the database went away; the batches before that are stored, and the file may be imported again.
        """
        file = read_file(source, self.encoding, most_rows=self.most_rows)
        report = ImportReport(dry_run=self.dry_run)
        seen: dict[str, int] = {}
        parsed = file.rows()
        done = 0
        while batch := list(islice(parsed, BATCH)):
            checked = [_repetition(row, seen) or row if isinstance(row, PersonRow) else row for row in batch]
            rows = [row for row in checked if isinstance(row, PersonRow)]
            problems = [row for row in checked if isinstance(row, RowProblem)]
            for outcome in self._store(rows):
                if isinstance(outcome, RowProblem):
                    problems.append(outcome)
                else:
                    setattr(report, outcome, getattr(report, outcome) + 1)
            report.problems += sorted(problems)
            done += len(batch)
            if self.progress is not None:
                self.progress(done, file.row_count)
        return report

    def _store(self, rows: Sequence[PersonRow]) -> list[Outcome | RowProblem]:
        def act(session: Session) -> list[Outcome | RowProblem]:
            recorded = find_persons_by_upn(session, [row.fields.upn for row in rows])
            outcomes = [self._store_row(session, row, recorded.get(row.fields.upn)) for row in rows]
            if self.dry_run:
                raise _Rehearsed(outcomes)
            return outcomes

        try:
            return self.transactions.write(act)
        except _Rehearsed as rehearsed:
            return rehearsed.outcomes

    def _store_row(self, session: Session, row: PersonRow, recorded: PersonRecord | None) -> Outcome | RowProblem:
        now = self.clock.now()
        try:
            if recorded is None:
                person = add_person(session, row.fields, actor=self.actor, now=now)
            else:
                wanted = replace(recorded.fields, **{name: getattr(row.fields, name) for name in row.given})
                person = recorded
                # Most rows of a file imported every night: nothing is locked or asked for them.
                if changed_fields(recorded, wanted):
                    person = change_person(session, recorded.id, wanted, actor=self.actor, now=now, listeners=self.listeners)
        except AlreadyTaken as taken:
            return RowProblem(row.line, taken.field, taken.reason)
        if row.active is not None and row.active != person.active:
            switch = reactivate_person if row.active else deactivate_person
            person = switch(session, person.id, actor=self.actor, now=now)
        if recorded is None:
            return "added"
        return "unchanged" if person == recorded else "changed"


def _repetition(row: PersonRow, seen: dict[str, int]) -> RowProblem | None:
    """Return the problem when an earlier row claims what can be one person's only; else remember the claims of this one."""
    claims = {f"upn {row.fields.upn}": "upn", f"mail {row.fields.email}": "email"}
    claims |= {f"mail {alias}": "aliases" for alias in row.fields.aliases}
    if row.fields.sid:
        claims[f"sid {row.fields.sid}"] = "sid"
    for claim, column in claims.items():
        if claim in seen:
            return RowProblem(row.line, column, f"{claim.partition(' ')[2]} stands in line {seen[claim]} already")
    seen.update(dict.fromkeys(claims, row.line))
    return None
