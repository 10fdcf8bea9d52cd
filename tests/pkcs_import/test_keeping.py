"""What is on record of each person's keys."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import select

from audit.records import AuditEvent
from ca.authorisation import PersonId
from foundation.tables import table_of
from people.person import PersonRecord
from pkcs_import import keeping
from pkcs_import.errors import UnknownArchivedKey
from pkcs_import.keeping import Kept, NewCertificate, NewKey, Origin
from pkcs_import.purpose import Concern, Purpose
from pkcs_import.sealing import Binding, SealedKey
from pkcs_import.trust import Trust
from signetry.database import Database
from tests.ca.authorities import NOW
from tests.pkcs_import.pfx_files import ACTOR, add_archive_key, add_person


@pytest.fixture
def archive(store: Database, rsa_key: rsa.RSAPrivateKey) -> int:
    return add_archive_key(store, rsa_key).row


@pytest.fixture
def alice(store: Database) -> PersonRecord:
    return add_person(store, "alice")


def new_key(person: PersonRecord, archive: int, label: str) -> NewKey:
    digest = label * 64
    binding = Binding(f"{person.id:x}".zfill(31) + label, person.id, digest)
    return NewKey(binding, SealedKey(archive, b"wrapped", b"nonce", b"ciphertext"), "rsa2048", Origin.IMPORTED)


def new_certificate(label: str, days: int = 1, purpose: Purpose = Purpose.ENCRYPTION) -> NewCertificate:
    return NewCertificate(
        der=label.encode(),
        sha256=label * 64,
        chain=(b"issuer", b"root"),
        subject=f"CN={label}",
        issuer="CN=CA",
        serial="1",
        not_before=NOW,
        not_after=NOW + timedelta(days=days),
        purpose=purpose,
        trust=Trust.SYSTEM,
        concerns=(Concern.UPN,),
    )


def keep(store: Database, key: NewKey, *certificates: NewCertificate, told: list[Kept] | None = None) -> tuple[int, int]:
    listeners = [lambda _session, kept: told.append(kept)] if told is not None else []
    return store.write(lambda session: keeping.keep(session, key, certificates, actor=ACTOR, now=NOW, listeners=listeners))


def test_a_key_is_kept_with_its_certificates_the_latest_first(store: Database, archive: int, alice: PersonRecord) -> None:
    told: list[Kept] = []
    number, new = keep(store, new_key(alice, archive, "a"), new_certificate("b", 1), new_certificate("c", 9), told=told)
    assert new == 3
    with store.reading() as session:
        kept = keeping.key_of(session, number)
        (event,) = session.execute(select(table_of(AuditEvent)).where(table_of(AuditEvent).c.action == "key.archived")).all()
    assert [each.subject for each in kept.certificates] == ["CN=c", "CN=b"]
    assert kept.not_after == NOW + timedelta(days=9)
    assert (kept.certificates[0].chain, kept.certificates[0].concerns) == (b"issuerroot", (Concern.UPN,))
    assert [each.key_id for each in told] == [number, number]
    assert event.details["certificates"] == ["b" * 64, "c" * 64]


def test_what_is_there_already_stays_and_is_told_to_nobody(store: Database, archive: int, alice: PersonRecord) -> None:
    first, _ = keep(store, new_key(alice, archive, "a"), new_certificate("b"))
    told: list[Kept] = []
    assert keep(store, new_key(alice, archive, "a"), new_certificate("b"), told=told) == (first, 0)
    assert told == []
    assert keep(store, new_key(alice, archive, "a"), new_certificate("b"), new_certificate("c"), told=told) == (first, 1)
    assert [each.certificate.subject for each in told] == ["CN=c"]


def test_whether_a_key_is_kept_depends_on_its_owner_and_its_certificates(
    store: Database, archive: int, alice: PersonRecord
) -> None:
    bob = add_person(store, "bob")
    keep(store, new_key(alice, archive, "a"), new_certificate("b"))
    with store.reading() as session:
        assert keeping.are_kept(session, alice.id, "a" * 64, [new_certificate("b")])
        assert not keeping.are_kept(session, alice.id, "a" * 64, [new_certificate("b"), new_certificate("c")])
        assert not keeping.are_kept(session, bob.id, "a" * 64, [new_certificate("b")])


def test_keys_are_for_encryption_where_one_of_their_certificates_is(store: Database, archive: int, alice: PersonRecord) -> None:
    keep(store, new_key(alice, archive, "a"), new_certificate("b", purpose=Purpose.SIGNING))
    keep(store, new_key(alice, archive, "c"), new_certificate("d", purpose=Purpose.BOTH))
    with store.reading() as session:
        kept = keeping.keys_of(session, PersonId(alice.id))
    assert {each.spki_sha256[0]: each.is_for_encryption for each in kept} == {"a": False, "c": True}


def test_keys_are_listed_in_pages_the_latest_first_of_one_or_of_all(store: Database, archive: int, alice: PersonRecord) -> None:
    bob = add_person(store, "bob")
    numbers = [keep(store, new_key(each, archive, label), new_certificate(label))[0] for each, label in (
        (alice, "a"), (bob, "b"), (alice, "c"), (alice, "d"),
    )]  # fmt: skip
    with store.reading() as session:
        everybody = keeping.list_keys(session, person=None, before=None, limit=3)
        rest = keeping.list_keys(session, person=None, before=everybody[-1].id, limit=3)
        hers = keeping.list_keys(session, person=PersonId(alice.id), before=None, limit=9)
    assert [each.id for each in (*everybody, *rest)] == numbers[::-1]
    assert [each.id for each in hers] == [numbers[3], numbers[2], numbers[0]]


def test_a_key_that_is_not_there_is_unknown(store: Database) -> None:
    with store.reading() as session, pytest.raises(UnknownArchivedKey, match="no archived key 4711"):
        keeping.key_of(session, 4711)


def test_nothing_of_a_seal_is_shown(alice: PersonRecord) -> None:
    assert "ciphertext" not in repr(new_key(alice, 1, "a"))
