"""Making authorities, certifying them again, and finding them, on both databases."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from sqlmodel import Session, col, select, update

from audit.log import Actor
from audit.records import AuditEvent
from ca.authorisation import CaName
from ca.constraints import Constraints, constraints_of
from ca.errors import AuthorityExists, KeyUnavailable, UnknownAuthority
from ca.hierarchy import (
    ISSUING,
    ROOT,
    NewAuthority,
    authorities,
    create_issuing,
    create_root,
    load_authority,
    root_algorithm,
)
from ca.issuance import IssuingAuthority
from ca.keys import KeyAlgorithm, KeyStore, algorithm_of
from ca.records import Certificate, CertificationAuthority
from ca.reissue import is_reissue_due, reissue_issuing
from foundation.transactions import Transactions
from tests.ca.assertions import assert_is_issuing_ca, assert_is_root
from tests.ca.authorities import NOW, ORGANISATION
from tests.ca.keystores import MemoryKeyStore

ACTOR = Actor("test:hierarchy")
URL = "http://pki.example.com"
NEW_URL = "https://ca.example.org/pki/"
CHOICES = (KeyAlgorithm.RSA3072, KeyAlgorithm.RSA2048, KeyAlgorithm.RSA4096, KeyAlgorithm.P256, KeyAlgorithm.P384)
CONSTRAINTS = Constraints(frozenset({ExtendedKeyUsageOID.EMAIL_PROTECTION}), ("example.com",), ("example.com",))


def make_both(
    session: Session,
    keystore: KeyStore,
    *,
    algorithm: KeyAlgorithm = KeyAlgorithm.P256,
    constraints: Constraints | None = None,
    now: datetime = NOW,
) -> IssuingAuthority:
    """Make root and issuing CA."""
    root = create_root(
        session,
        keystore,
        NewAuthority(ROOT, "Example Root CA", root_algorithm(algorithm), ORGANISATION),
        public_url=URL,
        actor=ACTOR,
        now=now,
    )
    new = NewAuthority(ISSUING, "Example Issuing CA", algorithm, ORGANISATION, constraints or Constraints())
    return create_issuing(session, keystore, root, new, public_url=URL, actor=ACTOR, now=now)


@pytest.mark.parametrize("algorithm", CHOICES)
def test_every_choice_of_key_makes_a_root_and_an_issuing_ca(sqlite_store: Transactions, algorithm: KeyAlgorithm) -> None:
    keystore = MemoryKeyStore()
    issuing = sqlite_store.write(lambda session: make_both(session, keystore, algorithm=algorithm))
    root = x509.load_der_x509_certificate(issuing.chain[0])
    assert_is_root(root)
    assert_is_issuing_ca(issuing.certificate)
    issuing.certificate.verify_directly_issued_by(root)
    assert algorithm_of(issuing.private_key.public_key()) is algorithm
    expected = KeyAlgorithm.RSA4096 if algorithm.is_rsa else KeyAlgorithm.P384
    assert algorithm_of(root.public_key()) is expected  # type: ignore[arg-type]
    assert set(keystore.kept) == {f"root-{expected}", f"issuing-{algorithm}"}


def test_authorities_are_listed_and_loaded_as_they_were_made(store: Transactions) -> None:
    keystore = MemoryKeyStore()
    issuing = store.write(lambda session: make_both(session, keystore))
    with store.reading() as session:
        listed = authorities(session)
        loaded = load_authority(session, keystore, ISSUING, URL)
        root = load_authority(session, keystore, ROOT, URL)
        rows = session.exec(select(Certificate).order_by(col(Certificate.id))).all()
        events = session.exec(select(AuditEvent).where(AuditEvent.action == "ca.created")).all()
    assert [(each.name, each.issuer, each.key_algorithm) for each in listed] == [
        (ROOT, None, KeyAlgorithm.P384),
        (ISSUING, ROOT, KeyAlgorithm.P256),
    ]
    assert [each.certificate_der for each in listed] == [root.certificate_der, issuing.certificate_der]
    assert loaded == issuing
    assert loaded.chain == (root.certificate_der,)
    assert root.chain == ()
    assert (loaded.crl_url, loaded.ca_issuers_url) == (f"{URL}/crl/issuing.crl", f"{URL}/aia/issuing.cer")
    assert [(row.profile, row.authority_id, row.certifies_id) for row in rows] == [
        ("root-ca", root.id, root.id),
        ("issuing-ca", root.id, issuing.id),
    ]
    assert [event.subject for event in events] == ["ca:root", "ca:issuing"]


def test_the_issuing_ca_points_at_what_the_root_publishes(sqlite_store: Transactions) -> None:
    issuing = sqlite_store.write(lambda session: make_both(session, MemoryKeyStore()))
    assert urls(issuing.certificate) == [f"{URL}/crl/root.crl", f"{URL}/aia/root.cer"]


def test_constraints_are_in_the_certificate(sqlite_store: Transactions) -> None:
    issuing = sqlite_store.write(lambda session: make_both(session, MemoryKeyStore(), constraints=CONSTRAINTS))
    assert constraints_of(issuing.certificate) == CONSTRAINTS
    assert issuing.certificate.extensions.get_extension_for_class(x509.NameConstraints).critical


def test_a_name_is_given_once(store: Transactions) -> None:
    keystore = MemoryKeyStore()
    store.write(lambda session: make_both(session, keystore))
    with pytest.raises(AuthorityExists):
        store.write(lambda session: make_both(session, keystore))


def test_an_interrupted_attempt_is_completed_with_the_key_it_left(sqlite_store: Transactions) -> None:
    keystore = MemoryKeyStore()

    def interrupted(session: Session) -> None:
        make_both(session, keystore)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sqlite_store.write(interrupted)
    left = dict(keystore.kept)
    assert len(left) == 2
    issuing = sqlite_store.write(lambda session: make_both(session, keystore))
    assert keystore.kept == left
    assert issuing.private_key is left["issuing-p256"]


def test_an_interrupted_attempt_does_not_bind_the_next_one_to_its_algorithm(sqlite_store: Transactions) -> None:
    keystore = MemoryKeyStore()
    keystore.generate("issuing-p256", KeyAlgorithm.P256)
    issuing = sqlite_store.write(lambda session: make_both(session, keystore, algorithm=KeyAlgorithm.P384))
    assert algorithm_of(issuing.private_key.public_key()) is KeyAlgorithm.P384


def test_a_key_left_behind_that_is_another_than_its_name_says_is_not_taken(sqlite_store: Transactions) -> None:
    keystore = MemoryKeyStore()
    keystore.kept["root-p384"] = keystore.generate("other", KeyAlgorithm.P256)
    with pytest.raises(KeyUnavailable):
        sqlite_store.write(lambda session: make_both(session, keystore))


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.P521, KeyAlgorithm.ED25519])
def test_other_algorithms_are_not_for_issuing_cas(sqlite_store: Transactions, algorithm: KeyAlgorithm) -> None:
    with pytest.raises(KeyUnavailable, match="one of rsa3072"):
        sqlite_store.write(lambda session: make_both(session, MemoryKeyStore(), algorithm=algorithm))


def test_unknown_authorities_are_not_found(sqlite_store: Transactions) -> None:
    with sqlite_store.reading() as session, pytest.raises(UnknownAuthority, match="'nowhere'"):
        load_authority(session, MemoryKeyStore(), CaName("nowhere"), URL)


def test_a_new_public_url_makes_a_reissue_due(store: Transactions) -> None:
    keystore = MemoryKeyStore()
    store.write(lambda session: make_both(session, keystore, constraints=CONSTRAINTS))
    with store.reading() as session:
        assert not is_reissue_due(session, ISSUING, URL)
        assert not is_reissue_due(session, ISSUING, f"{URL}/")
        assert is_reissue_due(session, ISSUING, NEW_URL)
        assert not is_reissue_due(session, ROOT, NEW_URL)


def test_a_reissue_changes_urls_and_serial_and_nothing_else(store: Transactions) -> None:
    keystore = MemoryKeyStore()
    before = store.write(lambda session: make_both(session, keystore, constraints=CONSTRAINTS))
    later = NOW + timedelta(days=100)
    after = store.write(lambda session: reissue_issuing(session, keystore, ISSUING, NEW_URL, actor=ACTOR, now=later))
    old, new = before.certificate, after.certificate
    assert urls(new) == ["https://ca.example.org/pki/crl/root.crl", "https://ca.example.org/pki/aia/root.cer"]
    assert after.crl_url == "https://ca.example.org/pki/crl/issuing.crl"
    assert new.serial_number != old.serial_number
    assert new.public_key() == old.public_key()
    assert (new.subject, new.issuer, new.not_valid_after_utc) == (old.subject, old.issuer, old.not_valid_after_utc)
    assert new.not_valid_before_utc > old.not_valid_before_utc
    assert unlike_urls(new) == unlike_urls(old)
    assert_is_issuing_ca(new)
    with store.reading() as session:
        assert not is_reissue_due(session, ISSUING, NEW_URL)
        assert load_authority(session, keystore, ISSUING, NEW_URL) == after
        kept = session.exec(select(Certificate).where(col(Certificate.certifies_id) == after.id)).all()
        event = session.exec(select(AuditEvent).where(AuditEvent.action == "ca.reissued")).one()
    assert [row.revoked_at for row in kept] == [None, None]
    assert event.details["public_url"] == NEW_URL


def test_a_root_is_not_reissued(sqlite_store: Transactions) -> None:
    keystore = MemoryKeyStore()
    sqlite_store.write(lambda session: make_both(session, keystore))
    with pytest.raises(UnknownAuthority, match="is a root"):
        sqlite_store.write(lambda session: reissue_issuing(session, keystore, ROOT, NEW_URL, actor=ACTOR, now=NOW))


def test_an_authority_whose_certificate_is_revoked_does_not_load_but_is_listed(store: Transactions) -> None:
    keystore = MemoryKeyStore()
    issuing = store.write(lambda session: make_both(session, keystore))
    mine = col(Certificate.certifies_id) == issuing.id
    store.write(lambda session: session.execute(update(Certificate).where(mine).values(revoked_at=NOW)) and None)
    with store.reading() as session:
        with pytest.raises(UnknownAuthority, match="no certificate in force"):
            load_authority(session, keystore, ISSUING, URL)
        assert [each.revoked_at for each in authorities(session)] == [None, NOW]


@pytest.mark.parametrize(("reason", "loads"), [("superseded", True), ("keyCompromise", False), ("cACompromise", False)])
def test_an_older_certificate_over_a_lost_key_is_no_way_out(store: Transactions, reason: str, *, loads: bool) -> None:
    keystore = MemoryKeyStore()
    before = store.write(lambda session: make_both(session, keystore))
    newest = store.write(lambda session: reissue_issuing(session, keystore, ISSUING, NEW_URL, actor=ACTOR, now=NOW))

    def revoke_newest(session: Session) -> None:
        serial = f"{newest.certificate.serial_number:032x}"
        revoked = update(Certificate).where(col(Certificate.serial) == serial)
        session.execute(revoked.values(revoked_at=NOW, revocation_reason=reason))

    store.write(revoke_newest)
    with store.reading() as session:
        if loads:
            assert load_authority(session, keystore, ISSUING, NEW_URL).certificate == before.certificate
        else:
            with pytest.raises(UnknownAuthority, match="reported compromised"):
                load_authority(session, keystore, ISSUING, NEW_URL)


def test_authorities_are_equal_only_when_all_of_them_is(sqlite_store: Transactions) -> None:
    keystore = MemoryKeyStore()
    issuing = sqlite_store.write(lambda session: make_both(session, keystore))
    assert replace(issuing, crl_url="http://elsewhere.example.com") != issuing
    with sqlite_store.reading() as session:
        assert len(session.exec(select(CertificationAuthority)).all()) == 2


def urls(certificate: x509.Certificate) -> list[str]:
    """Return the CRL's and the issuer's URL."""
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    return [str(name.value) for point in points for name in point.full_name or ()] + [
        str(item.access_location.value) for item in access
    ]


def unlike_urls(certificate: x509.Certificate) -> set[tuple[x509.ExtensionType, bool]]:
    """Return every extension that holds no URL."""
    with_urls = (x509.CRLDistributionPoints, x509.AuthorityInformationAccess)
    return {(each.value, each.critical) for each in certificate.extensions if not isinstance(each.value, with_urls)}
