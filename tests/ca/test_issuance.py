"""Building certificates and recording them: on both databases, in the caller's transaction, with what is owed for them."""

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from audit.log import Actor
from audit.records import AuditEvent
from ca.authorisation import Authorisation, CaName, DeviceId, PersonId
from ca.errors import IssuerNotValid, WeakKey
from ca.hierarchy import NewAuthority, create_root
from ca.issuance import IssuedCertificate, IssuingAuthority, build, record
from ca.keys import KeyAlgorithm
from ca.profiles import IDENTITY, ROOT_CA, SMIME_DUAL
from ca.records import Certificate
from foundation.transactions import Transactions
from tests.ca.assertions import SID, has, load
from tests.ca.authorities import ANN, NOW, ORGANISATION, PUBLIC_URL, make_issuing, make_root
from tests.ca.keystores import MemoryKeyStore, shared_key

ACTOR = Actor("test:issuance", "192.0.2.1")
KEY = shared_key(KeyAlgorithm.RSA2048).public_key()
ANNS = Authorisation(profile=IDENTITY.name, names=ANN, granted_by="challenge 1", person=PersonId(7), device=DeviceId(9))


@pytest.fixture
def authority(store: Transactions) -> IssuingAuthority:
    """A root in the database, which issues as any authority does."""
    new = NewAuthority(name=CaName("test"), common_name="Test", algorithm=KeyAlgorithm.P256)
    keystore = MemoryKeyStore()
    return store.write(lambda session: create_root(session, keystore, new, public_url=PUBLIC_URL, actor=ACTOR, now=NOW))


def test_the_subjects_sid_goes_into_log_on_certificates_only(ec_issuing: IssuingAuthority) -> None:
    assert has(load(build(ec_issuing, IDENTITY, ANN, KEY, now=NOW).der), SID)
    assert not has(load(build(ec_issuing, IDENTITY, replace(ANN, sid=""), KEY, now=NOW).der), SID)
    assert not has(load(build(ec_issuing, SMIME_DUAL, ANN, KEY, now=NOW).der), SID)


def test_without_a_subject_the_alternative_names_are_critical(ec_issuing: IssuingAuthority) -> None:
    long = replace(ANN, emails=("雪" * 20 + "@a-rather-long-domain.example.com",))
    for names, critical in ((long, True), (ANN, False)):
        certificate = load(build(ec_issuing, SMIME_DUAL, names, KEY, now=NOW).der)
        assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical is critical
        assert bool(list(certificate.subject)) is not critical


def test_organisation_validity_and_organisational_units_are_the_callers(ec_issuing: IssuingAuthority) -> None:
    built = build(
        ec_issuing,
        SMIME_DUAL,
        ANN,
        KEY,
        now=NOW,
        organisation=ORGANISATION,
        validity=timedelta(days=10),
        organisational_units=("mdm-7",),
    )
    assert "OU=mdm-7" in built.subject
    assert "O=Example Corporation" in built.subject
    assert built.not_after - built.not_before <= timedelta(days=10)


def test_a_certificate_never_outlives_its_issuer(ec_root: IssuingAuthority) -> None:
    issuing = make_issuing(ec_root, shared_key(KeyAlgorithm.P256, 100))
    end = issuing.certificate.not_valid_after_utc
    built = build(issuing, IDENTITY, ANN, KEY, now=end - timedelta(days=30))
    assert built.not_after == end


def test_an_issuer_out_of_its_own_validity_issues_nothing(ec_issuing: IssuingAuthority) -> None:
    certificate = ec_issuing.certificate
    for now in (certificate.not_valid_after_utc, certificate.not_valid_before_utc - timedelta(seconds=1)):
        with pytest.raises(IssuerNotValid):
            build(ec_issuing, IDENTITY, ANN, KEY, now=now)


def test_nobody_gets_a_certificate_over_the_authoritys_own_key(ec_issuing: IssuingAuthority) -> None:
    with pytest.raises(WeakKey, match="authority's own"):
        build(ec_issuing, IDENTITY, ANN, ec_issuing.private_key.public_key(), now=NOW)


def test_an_authority_is_not_made_of_a_key_and_anothers_certificate(ec_root: IssuingAuthority) -> None:
    with pytest.raises(ValueError, match="does not belong"):
        replace(ec_root, private_key=shared_key(KeyAlgorithm.P256, 5))


def test_an_authority_that_publishes_nothing_points_nowhere() -> None:
    root = replace(make_root(shared_key(KeyAlgorithm.P256, 5)), crl_url="", ca_issuers_url="")
    certificate = load(build(root, IDENTITY, ANN, KEY, now=NOW).der)
    assert not has(certificate, x509.CRLDistributionPoints.oid)
    assert not has(certificate, x509.AuthorityInformationAccess.oid)


def test_private_keys_do_not_show_in_a_representation(ec_issuing: IssuingAuthority) -> None:
    assert "private_key" not in repr(ec_issuing)


def test_a_recorded_certificate_is_all_there(store: Transactions, authority: IssuingAuthority) -> None:
    built = build(authority, IDENTITY, ANN, KEY, now=NOW)
    certificate_id = store.write(
        lambda session: record(session, built, authority=authority, authorisation=ANNS, actor=ACTOR, now=NOW)
    )
    with store.reading() as session:
        row = session.get(Certificate, certificate_id)
        assert row is not None
        assert row.der == built.der
        assert (row.authority_id, row.serial, row.profile, row.subject) == (authority.id, built.serial, "identity", "CN=Ann Lee")
        assert (row.person_id, row.device_id, row.certifies_id) == (7, 9, None)
        assert (row.not_before, row.not_after, row.issued_at) == (built.not_before, built.not_after, NOW)
        assert row.spki_sha256 == built.spki_sha256
        assert row.revoked_at is None
        event = session.exec(select(AuditEvent).where(AuditEvent.subject == f"certificate:{built.serial}")).one()
    assert (event.action, event.actor, event.origin, event.outcome) == (
        "certificate.issued",
        "test:issuance",
        "192.0.2.1",
        "done",
    )
    assert event.details["granted_by"] == "challenge 1"
    assert event.details["person"] == 7


def test_listeners_hear_of_a_certificate_inside_its_transaction(store: Transactions, authority: IssuingAuthority) -> None:
    heard: list[IssuedCertificate] = []

    def listen(session: Session, issued: IssuedCertificate) -> None:
        assert session.get(Certificate, issued.id) is not None
        heard.append(issued)

    built = build(authority, IDENTITY, ANN, KEY, now=NOW)
    certificate_id = store.write(
        lambda session: record(
            session, built, authority=authority, authorisation=ANNS, actor=ACTOR, now=NOW, listeners=(listen, listen)
        )
    )
    assert heard == [IssuedCertificate(certificate_id, authority.id, authority.name, built, PersonId(7), DeviceId(9))] * 2


def test_when_a_listener_fails_nothing_is_recorded(store: Transactions, authority: IssuingAuthority) -> None:
    def fail(_session: Session, _issued: IssuedCertificate) -> None:
        raise RuntimeError("the outbox is full")

    built = build(authority, IDENTITY, ANN, KEY, now=NOW)
    with pytest.raises(RuntimeError, match="outbox"):
        store.write(
            lambda session: record(
                session, built, authority=authority, authorisation=ANNS, actor=ACTOR, now=NOW, listeners=(fail,)
            )
        )
    with store.reading() as session:
        assert session.exec(select(Certificate).where(col(Certificate.profile) != ROOT_CA.name)).all() == []
        assert session.exec(select(AuditEvent).where(AuditEvent.subject == f"certificate:{built.serial}")).all() == []


def test_no_serial_is_recorded_twice(store: Transactions, authority: IssuingAuthority) -> None:
    built = build(authority, IDENTITY, ANN, KEY, now=NOW)

    def act(session: Session) -> int:
        return record(session, built, authority=authority, authorisation=ANNS, actor=ACTOR, now=NOW)

    store.write(act)
    with pytest.raises(IntegrityError):
        store.write(act)
