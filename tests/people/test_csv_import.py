"""Importing persons from CSV into the store, on both databases."""

import io
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import pytest
from sqlmodel import Session

from foundation.errors import Unavailable
from foundation.transactions import Transactions
from people.csv_import import BATCH, ImportReport, PersonImport
from people.csv_rows import RowProblem
from people.errors import ImportRefused
from people.persons import find_person, list_persons
from signetry.database import Database
from tests.clocks import ManualClock
from tests.people.samples import ACTOR, ALICE, TARO, actions, added, events

Result = TypeVar("Result")

FILE = """upn,email,aliases,name,language,active
taro@corp.example.com,taro.yamada@example.com,t@example.com,山田 太郎,ja,yes
alice@corp.example.com,alice@example.com,,Alice Smith,en,
bob@corp.example.com,bob@example.com,,Bob,,no
"""


def imported(store: Transactions, text: str, **options: Any) -> ImportReport:  # noqa: ANN401 - options of PersonImport
    return PersonImport(store, ManualClock(), ACTOR, **options).run(io.BytesIO(text.encode()))


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.added, report.changed, report.unchanged, report.refused


def test_a_file_is_imported_and_importing_it_again_does_nothing(store: Transactions) -> None:
    assert counts(imported(store, FILE)) == (3, 0, 0, 0)
    done = actions(store)
    assert done == ["person.added"] * 3 + ["person.deactivated"]
    assert {event.actor for event in events(store)} == {ACTOR.name}
    assert counts(imported(store, FILE)) == (0, 0, 3, 0)
    assert actions(store) == done
    with store.reading() as session:
        taro = find_person(session, email="t@example.com")
        bob = find_person(session, upn="bob@corp.example.com")
    assert taro is not None
    assert (taro.display_name, taro.language, taro.active) == ("山田 太郎", "ja", True)
    assert bob is not None
    assert (bob.language, bob.active) == ("en", False)


def test_a_row_changes_only_what_its_columns_say_and_empties_what_is_empty(store: Transactions) -> None:
    added(store, TARO)
    report = imported(store, "upn,email,name,sid,active\ntaro@corp.example.com,taro.yamada@example.com,Taro Y.,,no\n")
    assert counts(report) == (0, 1, 0, 0)
    with store.reading() as session:
        taro = find_person(session, upn=TARO.upn)
    assert taro is not None
    assert (taro.display_name, taro.sid, taro.active) == ("Taro Y.", None, False)
    assert (taro.aliases, taro.surname, taro.language) == (TARO.aliases, TARO.surname, TARO.language)


def test_bad_rows_are_reported_and_stop_no_other(store: Transactions) -> None:
    added(store, TARO)
    report = imported(
        store,
        "upn,email,aliases,sid\n"
        f"a@corp.example.com,{TARO.email},,\n"
        "b@corp.example.com,b,,\n"
        f"c@corp.example.com,c@example.com,{TARO.aliases[1]},\n"
        f"d@corp.example.com,d@example.com,,{TARO.sid}\n"
        "e@corp.example.com,e@example.com,,\n"
        "E@corp.example.com,e2@example.com,,\n"
        "f@corp.example.com,f@example.com,e@example.com,\n",
    )
    assert counts(report) == (1, 0, 0, 6)
    assert [(problem.line, problem.field) for problem in report.problems] == [
        (2, "email"),
        (3, "email"),
        (4, "aliases"),
        (5, "sid"),
        (7, "upn"),
        (8, "aliases"),
    ]
    assert TARO.upn in report.problems[0].reason
    assert report.problems[4].reason == "e@corp.example.com stands in line 6 already"
    with store.reading() as session:
        assert [person.upn for person in list_persons(session)] == ["e@corp.example.com", TARO.upn]


def test_a_dry_run_says_the_same_and_stores_nothing(store: Transactions) -> None:
    added(store, ALICE)
    text = FILE + "x@corp.example.com,alice@example.com,,,,\n"
    rehearsed = imported(store, text, dry_run=True)
    assert counts(rehearsed) == (2, 0, 1, 1)
    assert actions(store) == ["person.added"]
    report = imported(store, text)
    assert counts(report) == counts(rehearsed)
    assert report.problems == rehearsed.problems == [RowProblem(5, "email", "alice@example.com stands in line 3 already")]


def test_progress_is_told_after_every_batch(sqlite_store: Database) -> None:
    told: list[tuple[int, int]] = []
    total = 2 * BATCH + 1
    text = "upn,email\n" + "".join(f"p{n}@example.com,p{n}@example.com\n" for n in range(total))
    report = imported(sqlite_store, text, progress=lambda done, of: told.append((done, of)))
    assert report.added == total
    assert told == [(BATCH, total), (2 * BATCH, total), (total, total)]


def test_a_file_refused_stores_nothing(sqlite_store: Database) -> None:
    with pytest.raises(ImportRefused):
        imported(sqlite_store, FILE.replace("language", "favourite colour"))
    assert actions(sqlite_store) == []


def test_an_import_that_the_database_interrupts_can_be_done_again(sqlite_store: Database) -> None:
    class Failing:
        """A store that goes away after the first batch."""

        reading = sqlite_store.reading

        def __init__(self) -> None:
            self.writes = 0

        def write(self, act: Callable[[Session], Result]) -> Result:
            return self.submit(act).result()

        def submit(self, act: Callable[[Session], Result]) -> Future[Result]:
            self.writes += 1
            if self.writes > 1:
                raise Unavailable("the database is not available")
            return sqlite_store.submit(act)

    text = "upn,email\n" + "".join(f"p{n}@example.com,p{n}@example.com\n" for n in range(BATCH + 5))
    with pytest.raises(Unavailable):
        imported(Failing(), text)
    assert counts(imported(sqlite_store, text)) == (5, 0, BATCH, 0)
