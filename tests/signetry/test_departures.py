"""What a departure means for keys and directories, where a directory is configured."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlmodel import Session, select, update

from audit.records import AuditEvent
from foundation.tables import table_of
from ldap_publish import outbox
from ldap_publish.outbox import Subject
from ldap_publish.records import OwedEntry, SubjectKind
from people.person import PersonFields
from people.persons import add_person
from signetry.administration import persons
from signetry.administration.persons import Offboarded
from signetry.administration.rehearsal import perform
from signetry.house import House
from tests.signetry import installation
from tests.signetry.api.test_directories import SETTINGS
from tests.signetry.archived import archive_history

ALICE = "alice@example.com"


@pytest.fixture
def house(installed_home: Path) -> Iterator[House]:
    """An installation that publishes, with Alice and an imported certificate of hers that the directory has."""
    with (installed_home / "signetry.toml").open("a", encoding="utf-8") as file:
        file.write(SETTINGS)
    with installation.opened(installation.clock_of_today()) as opened:
        now = opened.clock.now()
        fields = PersonFields(upn=ALICE, email=ALICE)
        alice = opened.transactions.write(lambda session: add_person(session, fields, actor=opened.actor, now=now))
        archive_history(opened, ALICE, [ec.generate_private_key(ec.SECP256R1())])

        def published(session: Session) -> None:
            outbox.owe(session, ["main"], Subject(SubjectKind.PERSON, alice.id), now)
            session.execute(update(table_of(OwedEntry)).values(owed_since=None, due_at=None))

        opened.transactions.write(published)
        yield opened


def leave(house: House, *, dry_run: bool = False) -> Offboarded:
    act = partial(persons.offboard, house=house, who=ALICE)
    return house.transactions.write(partial(perform, act=act, dry_run=dry_run))


def owed(house: House) -> bool:
    with house.transactions.reading() as session:
        return session.exec(select(OwedEntry)).one().owed_since is not None


def test_the_directory_is_told_though_no_certificate_of_ours_is_revoked(house: House) -> None:
    for dry_run in (True, False):
        gone = leave(house, dry_run=dry_run)
        assert (gone.revoked, len(gone.keys.withdrawn), gone.keys.kept, gone.directories) == ((), 1, 1, ("main",))
        assert owed(house) is not dry_run


def test_what_was_withdrawn_is_on_record(house: House) -> None:
    gone = leave(house)
    with house.transactions.reading() as session:
        event = session.exec(select(AuditEvent).where(AuditEvent.action == "certificates.withdrawn")).one()
    assert event.details == {"serials": list(gone.keys.withdrawn)}


def test_leaving_twice_withdraws_nothing_more(house: House) -> None:
    leave(house)
    again = leave(house)
    assert (again.revoked, again.keys.stopped, again.keys.withdrawn, again.keys.kept) == ((), (), (), 1)
