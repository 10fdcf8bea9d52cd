"""Certificates of other authorities that are published like ours, against a directory in memory; both databases."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from sqlalchemy import Select, select
from sqlmodel import Session

from ca.certificate import spki_sha256
from ca.issuance import IssuingAuthority, build
from ca.keys import KeyAlgorithm
from ca.profiles import SMIME_DUAL
from ca.revocation import RevocationReason
from foundation.tables import table_of
from ldap_publish import outbox
from ldap_publish.directory import Policy, SmimeAttribute
from ldap_publish.foreign import ForeignCertificate, ForeignSource, current
from ldap_publish.publishing import Batch
from ldap_publish.smime import Signer
from people.person import PersonRecord
from people.records import Person
from tests.ca.authorities import ANN, NOW, make_issuing, make_root
from tests.ca.keystores import shared_key
from tests.ldap_publish.world import World, directory_of


@dataclass
class Elsewhere:
    """What another authority has issued, by person."""

    issuing: IssuingAuthority = field(
        default_factory=lambda: make_issuing(make_root(shared_key(KeyAlgorithm.P384, 110)), shared_key(KeyAlgorithm.P256, 110))
    )
    certificates: dict[int, list[ForeignCertificate]] = field(default_factory=dict)

    @property
    def source(self) -> ForeignSource:
        """What the room is handed."""
        return ForeignSource(certificates=self._of, persons=self._persons)

    def issue(
        self,
        person: PersonRecord,
        *,
        which: int = 210,
        begins: timedelta = timedelta(0),
        addresses: Sequence[str] = ("alice@example.com",),
        signed_by: int | None = None,
    ) -> ForeignCertificate:
        """Issue a certificate; ``begins`` counts from the tests' noon."""
        key = shared_key(KeyAlgorithm.P256, which).public_key()
        built = build(self.issuing, SMIME_DUAL, replace(ANN, emails=tuple(addresses)), key, now=NOW + begins)
        made = ForeignCertificate(
            der=built.der,
            chain=(self.issuing.certificate_der,),
            serial=built.serial,
            key=built.spki_sha256,
            addresses=frozenset(addresses),
            not_before=built.not_before,
            not_after=built.not_after,
            signed_by=signed_by,
        )
        self.certificates.setdefault(person.id, []).append(made)
        return made

    def _of(self, _session: Session, persons: Collection[int]) -> dict[int, list[ForeignCertificate]]:
        return {person: found for person, found in self.certificates.items() if person in persons}

    def _persons(self, now: datetime) -> Select[tuple[int]]:
        ids = [person for person, found in self.certificates.items() if any(each.not_after > now for each in found)]
        persons = table_of(Person)
        return select(persons.c.id.label("subject_id")).where(persons.c.id.in_(ids))


@pytest.fixture
def elsewhere(world: World) -> Elsewhere:
    """Another authority, of which the world's directory is told."""
    made = Elsewhere()
    world.sources = replace(world.sources, foreign=made.source)
    return made


def owe(world: World) -> None:
    """Owe what a new directory is owed."""
    now, source = world.clock.now(), world.sources.foreign
    world.store.write(lambda session: outbox.owe_everything(session, world.directory, now, source))


def foreign(number: int, *, begins: int = 0, ends: int = 9, addresses: str = "a") -> ForeignCertificate:
    return ForeignCertificate(
        der=f"{number}".encode(),
        chain=(),
        serial=f"{number:x}",
        key=f"key {number}",
        addresses=frozenset(addresses),
        not_before=NOW + timedelta(days=begins),
        not_after=NOW + timedelta(days=ends),
    )


def numbers(
    certificates: Sequence[ForeignCertificate], policy: Policy = Policy.ENCRYPTION, lost: Collection[str] = ()
) -> list[int]:
    return [int(each.der) for each in current(certificates, policy, NOW, lost=lost)]


def test_the_newest_for_an_address_is_current() -> None:
    assert numbers([foreign(1, begins=-1), foreign(2), foreign(3, begins=-2)]) == [2]
    assert numbers([foreign(1, addresses="a"), foreign(2, addresses="b")]) == [1, 2]
    assert numbers([foreign(1, begins=-1, addresses="a"), foreign(2, addresses="ab")]) == [2]
    assert numbers([foreign(1, begins=-1, addresses="ab"), foreign(2, addresses="b")]) == [1, 2]
    # One that names no address stands in for no other that does.
    assert numbers([foreign(1, begins=-1, addresses="a"), foreign(2, addresses="")]) == [1, 2]


def test_what_is_not_in_force_is_not() -> None:
    assert numbers([foreign(1, ends=0), foreign(2, begins=1)]) == []
    assert numbers([foreign(1, begins=-1), foreign(2, begins=1)]) == [1]


def test_what_is_over_a_lost_key_is_not() -> None:
    assert numbers([foreign(1, begins=-1), foreign(2)], lost={"key 2"}) == [1]
    assert numbers([foreign(1), foreign(2)], Policy.ALL, lost={"key 2"}) == [1]


def test_where_all_is_published_all_in_force_is() -> None:
    assert numbers([foreign(1, begins=-1), foreign(2), foreign(3, ends=0)], Policy.ALL) == [1, 2]


def test_it_is_published_beside_ours_and_leaves_when_it_ends(world: World, elsewhere: Elsewhere) -> None:
    dn = world.fake.add_person("alice")
    alice = world.add()
    theirs = elsewhere.issue(alice)
    owe(world)
    assert world.run() == Batch(done=1)
    assert world.certificates(dn) == [theirs.der]
    assert world.check() == []
    ours = world.issue(alice, validity=timedelta(days=900))
    world.run()
    assert world.certificates(dn) == [theirs.der, world.der(ours)]
    assert world.next_due() == theirs.not_after
    world.clock.set(theirs.not_after)
    world.run()
    assert world.certificates(dn) == [world.der(ours)]


def test_one_that_is_withdrawn_leaves(world: World, elsewhere: Elsewhere) -> None:
    dn = world.fake.add_person("alice")
    alice = world.add()
    elsewhere.issue(alice)
    owe(world)
    world.run()
    elsewhere.certificates.clear()
    world.owe_again()
    assert [str(each.kind) for each in world.check()] == ["unexpected"]
    world.run()
    assert (world.certificates(dn), world.placed()) == ([], set())


def test_one_over_a_key_that_we_know_to_be_lost_is_not_published(world: World, elsewhere: Elsewhere) -> None:
    dn = world.fake.add_person("alice")
    alice = world.add()
    # Ours is over the world's one key.
    number = world.issue(alice)
    theirs = elsewhere.issue(alice, which=200)
    assert theirs.key == spki_sha256(shared_key(KeyAlgorithm.P256, 200).public_key())
    world.revoke(number, reason=RevocationReason.KEY_COMPROMISE)
    world.run()
    assert world.certificates(dn) == []


def test_whoever_has_nothing_else_is_found_by_a_check_and_a_new_directory(world: World, elsewhere: Elsewhere) -> None:
    world.fake.add_person("alice")
    elsewhere.issue(world.add())
    assert [str(each.kind) for each in world.check()] == ["missing"]
    owe(world)
    assert world.backlog().pending == 1


def test_of_others_nothing_is_owed_where_nothing_is_known_of_them(world: World) -> None:
    world.fake.add_person("alice")
    world.add()
    owe(world)
    assert world.backlog().pending == 0


def test_its_chain_goes_with_it_into_the_other_attribute(world: World, elsewhere: Elsewhere) -> None:
    world.use(replace(directory_of(), smime_attribute=SmimeAttribute.CERTS_ONLY))
    world.note()
    dn = world.fake.add_person("alice")
    alice = world.add()
    theirs = elsewhere.issue(alice, signed_by=2)
    owe(world)
    world.run()
    (value,) = world.fake.values(dn, "userSMIMECertificate")
    bag = [each.public_bytes(Encoding.DER) for each in pkcs7.load_der_pkcs7_certificates(value)]
    assert sorted(bag) == sorted([theirs.der, elsewhere.issuing.certificate_der])
    assert world.check() == []


def test_one_of_our_authorities_signs_for_it(world: World, elsewhere: Elsewhere) -> None:
    asked = []

    def signer(_session: Session, authority: int, _now: datetime) -> Signer:
        asked.append(authority)
        return Signer(world.issuing.certificate_der, world.issuing.private_key)  # type: ignore[arg-type] # one that signs

    world.sources = replace(world.sources, signer=signer)
    world.use(replace(directory_of(), smime_attribute=SmimeAttribute.SIGNED))
    world.note()
    dn = world.fake.add_person("alice")
    theirs = elsewhere.issue(world.add(), signed_by=2)
    owe(world)
    world.run()
    (value,) = world.fake.values(dn, "userSMIMECertificate")
    assert theirs.der in [each.public_bytes(Encoding.DER) for each in pkcs7.load_der_pkcs7_certificates(value)]
    assert asked == [2]


def test_with_nobody_to_sign_it_stands_in_the_attribute_that_all_read(world: World, elsewhere: Elsewhere) -> None:
    world.use(replace(directory_of(), smime_attribute=SmimeAttribute.SIGNED))
    world.note()
    dn = world.fake.add_person("alice")
    theirs = elsewhere.issue(world.add())
    owe(world)
    assert world.run() == Batch(done=1)
    assert world.certificates(dn) == [theirs.der]
    assert world.fake.values(dn, "userSMIMECertificate") == []
    assert x509.load_der_x509_certificate(theirs.der).not_valid_after_utc == theirs.not_after
