"""Keys that are made here: one a person, certified for encryption and nothing else, kept, told of, and made again when asked."""

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from sqlalchemy import select
from sqlmodel import Session

from ca.authorisation import PersonId
from ca.errors import IssuerNotValid
from ca.keys import KeyAlgorithm
from ca.profiles import BUILT_IN, MAIL_ALL_IN_ONE, SMIME_SIGNING, AlternativeName
from ca.records import Certificate
from ca.revocation import RevocationReason
from foundation.tables import table_of
from people.activity import Inactive
from people.errors import UnknownPerson
from people.persons import deactivate_person
from pkcs_import.errors import NoArchiveKey, NotForEscrow
from pkcs_import.keeping import Origin, keys_of
from pkcs_import.making import Demand, Order, Outcome
from pkcs_import.purpose import Purpose
from pkcs_import.records import ArchivedCertificate, ArchivedKey, ArchiveKey
from pkcs_import.sealing import Binding, SealedKey, unseal
from pkcs_import.trust import Trust
from tests.pkcs_import.makings import ACTOR, Makings

UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
SID = x509.ObjectIdentifier("1.3.6.1.4.1.311.25.2")


def deactivate(makings: Makings, person: int) -> None:
    makings.store.write(lambda session: deactivate_person(session, person, actor=ACTOR, now=makings.clock.now()))


def issued(makings: Makings) -> list[x509.Certificate]:
    with makings.store.reading() as session:
        ders = session.scalars(select(table_of(Certificate).c.der).order_by(table_of(Certificate).c.id))
        return [x509.load_der_x509_certificate(der) for der in ders]


def test_the_private_half_is_sealed_to_the_archive_and_bound_to_its_owner(makings: Makings) -> None:
    made = makings.make()
    assert (made.outcome, made.origin, made.person) == (Outcome.ISSUED, Origin.MADE, makings.alice)
    with makings.store.reading() as session:
        row = session.execute(select(table_of(ArchivedKey))).one()
    binding = Binding(row.uid, row.person_id, row.spki_sha256)
    assert binding.person == makings.alice.id
    sealed = SealedKey(row.archive_key_id, bytes(row.wrapped_key), bytes(row.nonce), bytes(row.ciphertext))
    assert [unseal(makings.archive_key, sealed, binding)] == makings.workshop.made
    assert (row.origin, row.key_algorithm) == ("made", "secp256r1")


def test_the_certificate_is_for_encryption_and_nothing_else(makings: Makings) -> None:
    makings.make()
    (certificate,) = issued(makings)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_agreement, usage.digital_signature, usage.content_commitment) == (True, False, False)
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.EMAIL_PROTECTION]
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.RFC822Name("alice@example.com")]
    assert b"corp.example.com" not in certificate.public_bytes(Encoding.DER)


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.RSA2048, KeyAlgorithm.P384])
def test_whatever_the_record_holds_neither_account_nor_signature_gets_in(makings: Makings, algorithm: KeyAlgorithm) -> None:
    """Also of somebody with a SID, whose display name is their UPN, and over other kinds of keys."""
    bob = makings.person("bob", sid="S-1-5-21-1-2-3-1103", display_name="bob@corp.example.com")
    makings.make(Order(PersonId(bob.id)), algorithm=algorithm)
    (certificate,) = issued(makings)
    extensions = {extension.oid: extension for extension in certificate.extensions}
    assert SID not in extensions
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    is_rsa = isinstance(certificate.public_key(), rsa.RSAPublicKey)
    assert (usage.key_encipherment, usage.key_agreement) == (is_rsa, not is_rsa)
    assert (usage.digital_signature, usage.content_commitment) == (False, False)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert not any(isinstance(name, x509.OtherName) and name.type_id == UPN for name in names)


@pytest.mark.parametrize("name", sorted(set(BUILT_IN) - {"smime-encryption"}))
def test_no_other_profile_is_used_and_no_key_made_for_it(makings: Makings, name: str) -> None:
    with pytest.raises(NotForEscrow):
        makings.make(profile=BUILT_IN[name])  # type: ignore[index] # its names are text
    assert (makings.workshop.made, issued(makings)) == ([], [])


def test_a_profile_that_hides_what_it_says_is_found_out_before_anything_is_recorded(
    makings: Makings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the profile not looked at, the certificate still is."""
    monkeypatch.setattr("pkcs_import.making.require_profile_for_escrow", lambda _profile: None)
    without_upn = replace(MAIL_ALL_IN_ONE, alternative_names=(AlternativeName.ALL_EMAILS,), required_names=())
    for profile in (without_upn, SMIME_SIGNING):
        with pytest.raises(NotForEscrow):
            makings.make(profile=profile)
    assert issued(makings) == []
    assert makings.told == []


def test_what_is_made_is_on_record_everywhere(makings: Makings) -> None:
    made = makings.make()
    with makings.store.reading() as session:
        (key,) = keys_of(session, makings.alice_id)
        row = session.execute(select(table_of(Certificate))).one()
    (kept,) = key.certificates
    assert (row.serial, row.profile, row.person_id, row.renews_id) == (made.serial, "smime-encryption", makings.alice.id, None)
    assert (key.origin, key.spki_sha256, key.is_for_encryption) == (Origin.MADE, row.spki_sha256, True)
    assert (kept.certificate_id, kept.serial, kept.purpose, kept.trust) == (row.id, row.serial, Purpose.ENCRYPTION, Trust.OURS)
    assert (kept.der, kept.sha256, kept.concerns) == (row.der, hashlib.sha256(row.der).hexdigest(), ())
    assert kept.chain.startswith(makings.issuing.certificate_der)
    assert makings.issued == [row.id]
    assert [each.certificate.certificate_id for each in makings.kept] == [row.id]
    (told,) = makings.told
    assert (told.person, told.certificate_id, told.replaces, told.held_until) == (makings.alice, row.id, None, None)
    assert len(makings.events("key.archived")) == 1
    assert makings.events("certificate.issued")[0].details["granted_by"] == "a key made here"


def test_whoever_has_a_current_one_keeps_it(makings: Makings) -> None:
    first = makings.make()
    again = makings.make()
    assert (again.outcome, again.serial, again.origin) == (Outcome.PRESENT, first.serial, Origin.MADE)
    assert len(makings.workshop.made) == 1


def test_an_imported_one_is_as_good(makings: Makings) -> None:
    makings.import_certificate(ends=30)
    present = makings.make()
    assert (present.outcome, present.origin) == (Outcome.PRESENT, Origin.IMPORTED)
    makings.clock.advance(days=31)
    assert makings.make().outcome is Outcome.ISSUED


@pytest.mark.parametrize(
    ("begins", "ends", "purpose"), [(-10, -1, Purpose.ENCRYPTION), (1, 9, Purpose.ENCRYPTION), (-1, 9, Purpose.SIGNING)]
)
def test_one_that_mail_cannot_be_encrypted_to_now_is_not(makings: Makings, begins: int, ends: int, purpose: Purpose) -> None:
    makings.import_certificate(begins=begins, ends=ends, purpose=purpose)
    assert makings.make().outcome is Outcome.ISSUED


@pytest.mark.parametrize("reason", [RevocationReason.KEY_COMPROMISE, RevocationReason.SUPERSEDED])
def test_one_that_is_revoked_is_replaced(makings: Makings, reason: RevocationReason) -> None:
    first = makings.make()
    makings.revoke(first.serial, reason)
    second = makings.make()
    assert (second.outcome, second.serial != first.serial) == (Outcome.ISSUED, True)
    replaces = makings.told[-1].replaces
    assert replaces is not None
    assert (replaces.serial, replaces.is_revoked) == (first.serial, True)


def test_what_a_compromised_one_took_the_place_of_is_no_current_one(makings: Makings) -> None:
    """Whoever has the phone has both keys, and no directory publishes the older one."""
    first = makings.make()
    second = makings.make(Order(makings.alice_id, Demand.REPLACING, first.serial))
    makings.revoke(second.serial, RevocationReason.KEY_COMPROMISE)
    third = makings.make()
    assert third.outcome is Outcome.ISSUED
    assert makings.make().serial == third.serial


def test_where_a_renewed_one_is_merely_superseded_the_one_before_is_current(makings: Makings) -> None:
    first = makings.make()
    second = makings.make(Order(makings.alice_id, Demand.REPLACING, first.serial))
    makings.revoke(second.serial)
    assert makings.make().serial == first.serial


def test_a_new_key_is_made_in_the_place_of_the_one_named_once(makings: Makings) -> None:
    first = makings.make()
    order = Order(makings.alice_id, Demand.REPLACING, first.serial)
    second = makings.make(order)
    assert second.outcome is Outcome.ISSUED
    assert makings.make(order).serial == second.serial
    assert makings.make(Order(makings.alice_id, Demand.REPLACING, f"00{second.serial}")).outcome is Outcome.ISSUED
    with makings.store.reading() as session:
        rows = session.execute(select(table_of(Certificate)).order_by(table_of(Certificate).c.id)).all()
        keys = keys_of(session, makings.alice_id)
    # Each takes the place of the one before, and the archive has all of them.
    assert [row.renews_id for row in rows] == [None, rows[0].id, rows[1].id]
    assert len({key.spki_sha256 for key in keys}) == 3


def test_of_two_who_make_one_at_the_same_moment_one_does(makings: Makings) -> None:
    def make_one() -> None:
        makings.make()

    makings.workshop.meanwhile = make_one
    late = makings.make()
    assert late.outcome is Outcome.PRESENT
    assert len(makings.workshop.made) == 2
    assert [each.certificate.serial for each in makings.told] == [late.serial]


def test_whoever_is_not_active_gets_none(makings: Makings) -> None:
    deactivate(makings, makings.alice.id)
    with pytest.raises(Inactive):
        makings.make()
    assert makings.workshop.made == []


def test_whoever_leaves_meanwhile_gets_none(makings: Makings) -> None:
    makings.workshop.meanwhile = lambda: deactivate(makings, makings.alice.id)
    with pytest.raises(Inactive):
        makings.make()
    assert issued(makings) == []


def test_nobody_is_somebody(makings: Makings) -> None:
    with pytest.raises(UnknownPerson):
        makings.make(Order(PersonId(4711)))


def test_without_an_archive_key_nothing_is_made(makings: Makings) -> None:
    makings.store.write(lambda session: session.execute(table_of(ArchiveKey).delete()))
    with pytest.raises(NoArchiveKey):
        makings.make()
    assert makings.workshop.made == []


def test_an_authority_that_is_over_issues_none(makings: Makings) -> None:
    makings.clock.advance(days=365 * 30)
    with pytest.raises(IssuerNotValid):
        makings.make()


def test_what_a_listener_refuses_did_not_happen(makings: Makings) -> None:
    def refuse(_session: Session, _made: object) -> None:
        raise Inactive("no")

    with pytest.raises(Inactive):
        makings.make(made=(refuse,))
    with makings.store.reading() as session:
        for table in (Certificate, ArchivedKey, ArchivedCertificate):
            assert session.execute(select(table_of(table))).first() is None


def test_a_rehearsal_says_the_same_and_makes_nothing(makings: Makings) -> None:
    with makings.store.reading() as session:
        assert makings.maker.rehearse(session, Order(makings.alice_id)) is None
    assert makings.workshop.made == []
    first = makings.make()
    with makings.store.reading() as session:
        present = makings.maker.rehearse(session, Order(makings.alice_id))
    assert present is not None
    assert present.serial == first.serial


def test_it_is_good_for_two_years(makings: Makings) -> None:
    made = makings.make()
    assert timedelta(days=729) < made.not_after - makings.clock.now() < timedelta(days=731)


def test_rsa_keys_are_called_by_their_length(makings: Makings) -> None:
    makings.make(algorithm=KeyAlgorithm.RSA2048)
    with makings.store.reading() as session:
        (key,) = keys_of(session, makings.alice_id)
    assert key.algorithm == "rsa2048"
