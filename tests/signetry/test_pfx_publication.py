"""What directories are told of certificates whose keys are in the archive."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import update
from sqlmodel import Session

from ca.authorisation import CaName, PersonId
from ca.lineage import lineage_of
from foundation.tables import table_of
from people.person import PersonFields
from people.persons import add_person
from pkcs_import.encryption_certificates import withdraw
from pkcs_import.records import ArchivedCertificate
from signetry.house import House
from signetry.pfx_publication import foreign_source, unpublished
from tests.clocks import ManualClock
from tests.signetry import installation
from tests.signetry.archived import Identity, archive_history
from tests.signetry.installation import Commands

_ARCHIVED = table_of(ArchivedCertificate)


@pytest.fixture
def today() -> ManualClock:
    """A clock that stands at the present."""
    return installation.clock_of_today()


@pytest.fixture
def house(installed_home: Path, commands: Commands, today: ManualClock) -> Iterator[House]:
    """An installation with a CA of its own for the archive, and Alice."""
    commands.text("ca", "create", "mail", "--profile-set", "mail")
    with (installed_home / "signetry.toml").open("a") as file:
        file.write('\n[archive]\nissuing_ca = "mail"\n')
    with installation.opened(today) as opened:
        fields = PersonFields(upn="alice@example.com", email="alice@example.com")
        opened.transactions.write(lambda session: add_person(session, fields, actor=opened.actor, now=today.now()))
        yield opened


def history(house: House, count: int = 1) -> list[Identity]:
    return archive_history(house, "alice@example.com", [ec.generate_private_key(ec.SECP256R1()) for _ in range(count)])


def test_the_archives_ca_signs_for_persons_once_there_is_something_in_the_archive(house: House) -> None:
    with house.transactions.reading() as session:
        assert house.directories.issuers(session) == ["issuing"]
    history(house)
    with house.transactions.reading() as session:
        assert sorted(house.directories.issuers(session)) == ["issuing", "mail"]


def test_an_imported_certificate_comes_with_its_addresses_its_chain_and_who_signs_for_it(house: House) -> None:
    (kept,) = history(house)
    other, another = (house.authority(name).certificate_der for name in ("mail", "root"))
    changes = {"chain": other + another}
    house.transactions.write(lambda session: session.execute(update(_ARCHIVED).values(changes)))
    with house.transactions.reading() as session:
        (found,) = foreign_source(CaName("mail")).certificates(session, [1])[1]
        signer = lineage_of(session, CaName("mail")).active.id
    assert found.der == kept.certificate.public_bytes(Encoding.DER)
    assert (found.addresses, found.chain, found.signed_by) == (frozenset({"alice@example.com"}), (other, another), signer)
    assert (found.not_before, found.not_after) == (kept.certificate.not_valid_before_utc, kept.certificate.not_valid_after_utc)


def test_where_there_is_no_such_ca_nobody_signs(house: House) -> None:
    history(house)
    with house.transactions.reading() as session:
        (found,) = foreign_source(CaName("nobody")).certificates(session, [1])[1]
        assert foreign_source(CaName("nobody")).certificates(session, [4711]) == {}
    assert found.signed_by is None


@pytest.mark.parametrize(
    "changes", [{"purpose": "signing"}, {"purpose": "authentication"}, {"certificate_id": 1}, {"withdrawn_at": "now"}]
)
def test_what_is_not_to_be_published_is_not_told_of(house: House, today: ManualClock, changes: dict[str, object]) -> None:
    history(house)
    values = {name: today.now() if value == "now" else value for name, value in changes.items()}
    house.transactions.write(lambda session: session.execute(update(_ARCHIVED).values(values)))
    source = foreign_source(CaName("mail"))
    with house.transactions.reading() as session:
        assert source.certificates(session, [1]) == {}
        assert session.scalars(source.persons(today.now())).all() == []


def test_persons_are_named_as_long_as_they_have_one_that_has_not_expired(house: House, today: ManualClock) -> None:
    history(house, 2)
    source = foreign_source(CaName("mail"))
    with house.transactions.reading() as session:
        assert [row.subject_id for row in session.execute(source.persons(today.now()))] == [1]
        assert session.scalars(source.persons(today.now() + timedelta(days=365))).all() == []


def test_who_leaves_takes_along_what_is_in_force_and_says_so_once(house: House, today: ManualClock) -> None:
    *_, newest = history(house, 2)

    def leave(session: Session) -> list[str]:
        return withdraw(session, PersonId(1), actor=house.actor, now=today.now())

    assert house.transactions.write(leave) == [f"{newest.certificate.serial_number:x}"]
    assert house.transactions.write(leave) == []


def test_nothing_is_unpublished_where_nothing_is_held(house: House) -> None:
    with house.transactions.reading() as session:
        assert unpublished(session) == frozenset()


def test_with_no_directory_nobody_is_told(house: House) -> None:
    assert house.kept_listeners == ()
    assert replace(house).publication_holds.listeners == ()
