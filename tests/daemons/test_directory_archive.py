"""What stands in a real directory of the certificates whose keys are in the archive: those made here, and imported ones."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import select
from sqlmodel import Session

from ca.authorisation import PersonId
from ca.records import Certificate
from foundation.tables import table_of
from people.devices import DeviceFields, add_device
from pkcs_import import delivery, packing
from pkcs_import.archive import DeliveryOrder, PackedKey
from pkcs_import.delivery import Method
from signetry import pfx_making
from signetry.administration import persons
from signetry.assembly import jobs
from tests.daemons.directories.directory import Site
from tests.daemons.directories.office import Office, opened_office
from tests.signetry.archived import archive_history

OpenOffice = Callable[..., Office]
_CONFIGURATION = """
[archive]
made_key_algorithm = "p256"
"""


@pytest.fixture
def archiving(open_office: OpenOffice, site: Site) -> Office:
    """An office that makes keys, for Alice, who has an entry and a phone."""
    office = open_office(site.settings() + _CONFIGURATION)
    office.add_person()
    site.add_person()
    device = DeviceFields(name="alice-phone", owner="alice@example.com")
    house = office.house
    house.transactions.write(lambda session: add_device(session, device, actor=house.actor, now=house.clock.now()))
    return office


def run(office: Office, job: str) -> None:
    """Do what the worker does of one kind, then what directories are owed."""
    (found,) = [each for each in jobs(office.house) if each.name == job]
    while found.run():
        pass
    office.work()


def made(office: Office) -> list[bytes]:
    """Return the certificates that were made for Alice, the oldest first."""
    certificates = table_of(Certificate)
    with office.house.transactions.reading() as session:
        query = select(certificates.c.der).where(certificates.c.profile == "smime-encryption").order_by(certificates.c.id)
        return list(session.scalars(query))


def issue(office: Office) -> None:
    """Have a key made for Alice, by the command."""
    record = office.json("pfx", "issue", "--upn", "alice@example.com")
    assert record["outcome"] == "issued"
    office.work()


def deliver(office: Office) -> None:
    """Hand all of Alice's keys to her phone."""
    house, now = office.house, office.clock.now()
    order = DeliveryOrder(
        person=PersonId(1),
        device=1,
        method=Method.FILE,
        encoding=packing.Encoding.MODERN,
        ordered_by="test",
        expires_at=now + timedelta(days=1),
    )

    def act(session: Session) -> None:
        keys = delivery.admit(session, order, now)
        packed = PackedKey("keys.p12", b"-", tuple(key.id for key in keys), tuple("-" for _ in keys))
        number = delivery.record(session, order, [packed], actor=house.actor, now=now)
        delivery.hand(session, number, actor=house.actor, now=now, listeners=house.handed_listeners)

    house.transactions.write(act)
    office.work()


def renewed(office: Office) -> tuple[bytes, bytes]:
    """Have Alice's key made, handed to her phone and renewed; return both certificates."""
    issue(office)
    deliver(office)
    office.clock.advance(days=700)
    run(office, "key-renewal")
    before, after = made(office)
    return before, after


def test_a_renewed_one_is_published_when_the_device_has_its_key_and_its_predecessor_leaves_then(
    archiving: Office, site: Site
) -> None:
    before, after = renewed(archiving)
    assert site.certificates() == [before]
    assert archiving.json("ldap", "check") == []
    deliver(archiving)
    assert site.certificates() == [after]


def test_it_is_published_without_the_device_when_its_time_is_up(archiving: Office, site: Site) -> None:
    before, after = renewed(archiving)
    # Nothing is held back longer than the one before is good.
    left = x509.load_der_x509_certificate(before).not_valid_after_utc - archiving.clock.now()
    assert left < timedelta(days=30)
    archiving.clock.advance(left - timedelta(hours=1))
    run(archiving, "publication-holds")
    assert site.certificates() == [before]
    archiving.clock.advance(hours=1)
    run(archiving, "publication-holds")
    assert site.certificates() == [after]


def test_one_whose_predecessor_is_revoked_is_published_at_once(archiving: Office, site: Site) -> None:
    before, after = renewed(archiving)
    serial = f"{x509.load_der_x509_certificate(before).serial_number:x}"
    archiving.json("cert", "revoke", serial, "--reason", "superseded")
    archiving.work()
    assert site.certificates() == [after]


def test_an_imported_one_is_published_and_leaves_with_its_owner(archiving: Office, site: Site) -> None:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    *_, newest = archive_history(archiving.house, "alice@example.com", keys)
    archiving.work()
    # Those before it have ended.
    assert site.certificates() == [newest.certificate.public_bytes(Encoding.DER)]
    assert archiving.json("ldap", "check") == []
    house = archiving.house
    house.transactions.write(lambda session: persons.offboard(session, house, "alice@example.com"))
    archiving.work()
    assert site.certificates() == []


def test_an_imported_one_is_published_to_a_directory_that_comes_later(
    open_office: OpenOffice, site: Site, tmp_path: Path
) -> None:
    office = open_office("")
    office.add_person()
    (kept,) = archive_history(office.house, "alice@example.com", [ec.generate_private_key(ec.SECP256R1())])
    site.add_person()
    with opened_office(tmp_path / "home", site.settings()) as later:
        later.work()
    assert site.certificates() == [kept.certificate.public_bytes(Encoding.DER)]


def test_the_key_of_an_archive_that_holds_nothing_signs_nothing(archiving: Office) -> None:
    """What is published, and signed for, does not change before there is something in the archive."""
    with archiving.house.transactions.reading() as session:
        assert archiving.house.directories.issuers(session) == ["issuing"]
    assert pfx_making.holds_job(archiving.house).run() == 0
