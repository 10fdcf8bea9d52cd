"""Installing what somebody else's authority has made, on both databases."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlmodel import Session, col, select

from audit.log import Actor
from audit.records import AuditEvent
from ca.authorisation import CaName
from ca.errors import (
    AuthorityExists,
    CertificateAwaited,
    ChainRefused,
    ForeignAuthority,
    KeyUnavailable,
    UnknownAuthority,
)
from ca.hierarchy import (
    ISSUING,
    ROOT,
    NewAuthority,
    authorities,
    awaiting_certificate,
    certificate_request,
    create_awaiting,
    create_issuing,
    create_root,
    load_authority,
    load_crl_issuer,
)
from ca.installation import Installation, install, plan
from ca.issuance import IssuanceListener, IssuedCertificate
from ca.keys import KeyAlgorithm
from ca.records import Certificate, CertificationAuthority
from ca.reissue import is_reissue_due, reissue_issuing
from ca.revocation import RevocationReason, revoke
from foundation.transactions import Transactions
from tests.ca.authorities import NOW
from tests.ca.foreign import SOUND, YEARS, Foreign, Says, distinguished, foreign_root
from tests.ca.keystores import MemoryKeyStore

ACTOR = Actor("test:installation")
URL = "http://pki.example.com"
SUBJECT = distinguished("Example Issuing CA")


class World:
    """An issuing CA that awaits its certificate, and what can be done with it."""

    def __init__(self, store: Transactions, algorithm: KeyAlgorithm = KeyAlgorithm.P256) -> None:
        self.store = store
        self.keystore = MemoryKeyStore()
        self.algorithm = algorithm
        self.told = list[IssuedCertificate]()
        new = NewAuthority(ISSUING, "Example Issuing CA", algorithm)
        self.request = store.write(lambda session: create_awaiting(session, self.keystore, new, actor=ACTOR, now=NOW))

    def certified(self, above: Foreign, says: Says = SOUND, subject: x509.Name = SUBJECT) -> x509.Certificate:
        """Have the request signed."""
        key = self.keystore.kept[f"issuing-{self.algorithm}"].public_key()
        return above.certify(subject, key, says)

    def install(self, *given: x509.Certificate, name: CaName = ISSUING) -> Installation:
        """Install."""
        return self.store.write(
            lambda session: install(session, self.keystore, name, given, actor=ACTOR, now=NOW, listeners=(self.hear,))
        )

    def hear(self, _session: Session, issued: IssuedCertificate) -> None:
        """Be told of a certificate."""
        self.told.append(issued)

    def rows(self) -> list[tuple[str, str | None, bool]]:
        """Return the authorities: name, issuer, and whether the key is ours."""
        with self.store.reading() as session:
            return [(str(each.name), each.issuer, each.is_ours) for each in authorities(session)]

    def count(self, table: type[Certificate | CertificationAuthority | AuditEvent]) -> int:
        """Count rows."""
        with self.store.reading() as session:
            return len(session.exec(select(table)).all())


@pytest.fixture
def world(store: Transactions) -> World:
    return World(store)


@pytest.fixture
def sqlite_world(sqlite_store: Transactions) -> World:
    return World(sqlite_store)


def test_the_request_is_over_our_key_and_asks_for_what_an_authority_needs(sqlite_world: World) -> None:
    request = sqlite_world.request
    assert request.is_signature_valid
    assert request.subject == SUBJECT
    constraints = request.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value) == (True, x509.BasicConstraints(ca=True, path_length=0))
    usage = request.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)


def test_until_its_certificate_comes_the_authority_awaits_it(world: World) -> None:
    with world.store.reading() as session:
        assert awaiting_certificate(session) == [ISSUING]
        assert authorities(session) == []
        for load in (load_authority, load_crl_issuer):
            with pytest.raises(CertificateAwaited, match="signetry ca install"):
                load(session, world.keystore, ISSUING, URL)
        again = certificate_request(session, world.keystore, ISSUING, SUBJECT)
    assert again.public_key() == world.request.public_key()
    assert world.keystore.kept.keys() == {"issuing-p256"}


def test_an_installed_authority_loads_with_the_chain_above_it(world: World) -> None:
    root = foreign_root()
    policy = root.authority("Policy & Governance CA")
    own = world.certified(policy)
    done = world.install(root.certificate, own, policy.certificate)
    assert [member.name for member in done.chain] == ["issuing", "policy-governance-ca", "root"]
    assert done.changes_something
    assert sorted(world.rows()) == [
        ("issuing", "policy-governance-ca", True),
        ("policy-governance-ca", "root", False),
        ("root", None, False),
    ]
    with world.store.reading() as session:
        assert awaiting_certificate(session) == []
        authority = load_authority(session, world.keystore, ISSUING, URL)
        events = session.exec(select(AuditEvent).where(AuditEvent.action == "ca.installed")).all()
        certificates = session.exec(select(Certificate).order_by(col(Certificate.id))).all()
    assert authority.certificate == own
    assert authority.chain == (policy.certificate.public_bytes(Encoding.DER), root.certificate.public_bytes(Encoding.DER))
    assert [event.subject for event in events] == ["ca:root", "ca:policy-governance-ca", "ca:issuing"]
    assert [row.profile for row in certificates] == ["root-ca", "issuing-ca", "issuing-ca"]
    # Who publishes certificates of authorities is told of these, too.
    assert [issued.authority for issued in world.told] == ["root", "root", "policy-governance-ca"]
    assert [issued.certifies for issued in world.told] == [row.certifies_id for row in certificates]


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.RSA3072, KeyAlgorithm.P256, KeyAlgorithm.P384])
def test_every_kind_of_key_can_be_certified_by_another(sqlite_store: Transactions, algorithm: KeyAlgorithm) -> None:
    world = World(sqlite_store, algorithm)
    root = foreign_root()
    world.install(world.certified(root), root.certificate)
    with world.store.reading() as session:
        assert load_authority(session, world.keystore, ISSUING, URL).chain


def test_installing_again_changes_nothing(world: World) -> None:
    root = foreign_root()
    own = world.certified(root)
    world.install(own, root.certificate)
    before = [world.count(table) for table in (Certificate, CertificationAuthority, AuditEvent)]
    assert not world.install(own, root.certificate).changes_something
    # What is above it is known by now.
    assert not world.install(own).changes_something
    assert [world.count(table) for table in (Certificate, CertificationAuthority, AuditEvent)] == before
    assert len(world.told) == 2


def test_of_two_who_install_the_same_at_once_one_does(world: World) -> None:
    root = foreign_root()
    given = (world.certified(root), root.certificate)
    is_within, other_begins = threading.Event(), threading.Event()

    def linger(_session: Session, _issued: IssuedCertificate) -> None:
        is_within.set()
        assert other_begins.wait(10)
        # Time enough for the other to get as far as it can.
        time.sleep(0.3)

    def act(listener: IssuanceListener) -> Installation:
        return world.store.write(
            lambda session: install(session, world.keystore, ISSUING, given, actor=ACTOR, now=NOW, listeners=(listener,))
        )

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(act, linger)
        assert is_within.wait(10)
        other_begins.set()
        second = threads.submit(act, world.hear)
        assert (first.result().changes_something, second.result().changes_something) == (True, False)
    assert world.rows() == [("issuing", "root", True), ("root", None, False)]


def test_a_plan_writes_nothing(world: World) -> None:
    root = foreign_root()
    with world.store.reading() as session:
        planned = plan(session, world.keystore, ISSUING, [world.certified(root), root.certificate], now=NOW)
        assert planned.changes_something
        assert session.exec(select(Certificate)).all() == []


def test_nothing_partial_is_stored_of_what_is_refused(world: World) -> None:
    root = foreign_root(says=Says(path_length=0))
    policy = root.authority("Policy CA")
    with pytest.raises(ChainRefused):
        world.install(world.certified(policy), policy.certificate, root.certificate)
    assert [world.count(table) for table in (Certificate, CertificationAuthority)] == [0, 1]


def test_the_one_installed_last_is_current(world: World) -> None:
    root = foreign_root()
    first = world.certified(root, Says(not_after=NOW + YEARS))
    world.install(first, root.certificate)
    renewed = world.certified(root)
    world.install(renewed)
    with world.store.reading() as session:
        assert load_authority(session, world.keystore, ISSUING, URL).certificate == renewed
        request = certificate_request(session, world.keystore, ISSUING, distinguished("Whatever"))
    assert request.subject == SUBJECT


def test_a_renewal_must_keep_the_name_that_issued_certificates_hold(sqlite_world: World) -> None:
    root = foreign_root()
    # The first may name it as it likes: nothing has been issued yet.
    sqlite_world.install(sqlite_world.certified(root, subject=distinguished("Renamed CA")), root.certificate)
    with pytest.raises(ChainRefused, match="ask for one with the subject of the request"):
        sqlite_world.install(sqlite_world.certified(root))


def test_what_is_judged_is_what_stands_above_afterwards(world: World) -> None:
    # One intermediate authority, certified by two roots in turn: the second time it is under the first again.
    one, two = foreign_root("One"), foreign_root("Two")
    under_one = one.authority("Between")
    under_two = two.authority("Between", key=under_one.key)
    world.install(world.certified(under_one), under_one.certificate, one.certificate)
    world.install(world.certified(under_two), under_two.certificate, two.certificate)
    done = world.install(world.certified(under_one), under_one.certificate, one.certificate)
    with world.store.reading() as session:
        loaded = load_authority(session, world.keystore, ISSUING, URL)
    judged = [member.certificate.public_bytes(Encoding.DER) for member in done.chain]
    assert [loaded.certificate_der, *loaded.chain] == judged
    assert [member.name for member in done.chain] == ["issuing", "between", "two"]


def test_a_former_certificate_does_not_come_back_in_silence(sqlite_world: World) -> None:
    root = foreign_root()
    former = sqlite_world.certified(root)
    sqlite_world.install(former, root.certificate)
    current = sqlite_world.certified(root)
    sqlite_world.install(current)
    again = sqlite_world.install(former)
    assert not again.changes_something
    assert [warning for warning in again.warnings if "a later one is current" in warning]
    with sqlite_world.store.reading() as session:
        assert load_authority(session, sqlite_world.keystore, ISSUING, URL).certificate == current


def test_no_certificate_over_a_compromised_key_is_installed(sqlite_world: World) -> None:
    root = foreign_root()
    sqlite_world.install(sqlite_world.certified(root, Says(serial=9)), root.certificate)

    def report(session: Session) -> None:
        row = session.exec(select(Certificate).where(col(Certificate.serial) == f"{9:032x}")).one()
        row.revoked_at, row.revocation_reason = NOW, RevocationReason.KEY_COMPROMISE
        session.add(row)

    sqlite_world.store.write(report)
    with pytest.raises(ChainRefused, match="the key of issuing is reported compromised"):
        sqlite_world.install(sqlite_world.certified(root))


def test_names_for_authorities_above_are_made_unique(sqlite_world: World) -> None:
    top = foreign_root("root")
    first = top.authority("Prüf-CA (G2)")
    second = first.authority("prüf ca g2")
    third = second.authority("日本")
    fourth = third.authority("something-delta")
    chain = [each.certificate for each in (fourth, third, second, first, top)]
    done = sqlite_world.install(sqlite_world.certified(fourth), *chain)
    assert [member.name for member in done.chain[1:]] == ["something-delta-2", "authority", "pruf-ca-g2", "pruf-ca-g2-2", "root"]


def test_an_authority_above_is_known_again_by_name_and_key(world: World) -> None:
    key_holder = foreign_root()
    world.install(world.certified(key_holder), key_holder.certificate)
    renewed_root = Foreign(foreign_root(key=key_holder.key, says=Says(not_after=NOW + 9 * YEARS)).certificate, key_holder.key)
    done = world.install(world.certified(renewed_root), renewed_root.certificate)
    assert [member.name for member in done.chain] == ["issuing", "root"]
    assert len(world.rows()) == 2
    other = foreign_root()
    done = world.install(world.certified(other), other.certificate)
    assert done.chain[1].name == "foreign-root-ca"
    assert ("issuing", "foreign-root-ca", True) in world.rows()


def test_serial_numbers_are_one_issuers(sqlite_world: World) -> None:
    root = foreign_root()
    sqlite_world.install(sqlite_world.certified(root, Says(serial=7)), root.certificate)
    with pytest.raises(ChainRefused, match="serial number of another certificate"):
        sqlite_world.install(sqlite_world.certified(root, Says(serial=7)))


def test_an_authority_above_signs_nothing_here(world: World) -> None:
    root = foreign_root()
    world.install(world.certified(root), root.certificate)
    with world.store.reading() as session:
        for load in (load_authority, load_crl_issuer):
            with pytest.raises(ForeignAuthority):
                load(session, world.keystore, ROOT, URL)
        with pytest.raises(ForeignAuthority):
            certificate_request(session, world.keystore, ROOT, SUBJECT)
        # Addresses in its certificate are the other authority's affair.
        assert not is_reissue_due(session, ISSUING, "http://new.example.com")
        assert not is_reissue_due(session, ROOT, "http://new.example.com")
        own = session.exec(select(Certificate.id).where(Certificate.profile == "issuing-ca")).one()
        above = session.exec(select(Certificate.id).where(Certificate.profile == "root-ca")).one()
    with pytest.raises(ForeignAuthority, match="signetry ca csr issuing"):
        world.store.write(
            lambda session: reissue_issuing(session, world.keystore, ISSUING, URL, actor=ACTOR, now=NOW),
        )
    with pytest.raises(ForeignAuthority):
        world.install(root.certificate, name=ROOT)
    for number in (own, above):
        with pytest.raises(ForeignAuthority, match="revoked there"):
            world.store.write(partial(_revoke, number or 0))


def _revoke(number: int, session: Session) -> None:
    revoke(session, [number], RevocationReason.SUPERSEDED, actor=ACTOR, now=NOW)


def test_a_root_of_ours_is_not_certified_by_others_and_an_issuing_ca_of_ours_can_be(store: Transactions) -> None:
    keystore = MemoryKeyStore()

    def make(session: Session) -> None:
        new_root = NewAuthority(ROOT, "Own Root CA", KeyAlgorithm.P384)
        root = create_root(session, keystore, new_root, public_url=URL, actor=ACTOR, now=NOW)
        new = NewAuthority(ISSUING, "Example Issuing CA", KeyAlgorithm.P256)
        create_issuing(session, keystore, root, new, public_url=URL, actor=ACTOR, now=NOW)

    store.write(make)
    other = foreign_root()
    crossed = other.certify(distinguished("Own Root CA"), keystore.kept["root-p384"].public_key())
    own = other.certify(SUBJECT, keystore.kept["issuing-p256"].public_key())
    with store.reading() as session:
        request = certificate_request(session, keystore, ISSUING, distinguished("Whatever"))
        assert request.subject == SUBJECT
        with pytest.raises(UnknownAuthority, match="is a root"):
            certificate_request(session, keystore, ROOT, SUBJECT)
    with pytest.raises(ChainRefused, match="root is a root"):
        store.write(
            lambda session: install(session, keystore, ROOT, [crossed, other.certificate], actor=ACTOR, now=NOW),
        )
    store.write(lambda session: install(session, keystore, ISSUING, [own, other.certificate], actor=ACTOR, now=NOW))
    with store.reading() as session:
        assert load_authority(session, keystore, ISSUING, URL).chain == (other.certificate.public_bytes(Encoding.DER),)
        assert [(each.name, each.issuer) for each in authorities(session)] == [
            ("root", None),
            ("issuing", "foreign-root-ca"),
            ("foreign-root-ca", None),
        ]


def test_a_name_is_given_once_and_the_algorithm_must_be_an_issuing_cas(sqlite_world: World) -> None:
    def again(algorithm: KeyAlgorithm, name: CaName) -> None:
        new = NewAuthority(name, "Example CA", algorithm)
        sqlite_world.store.write(
            lambda session: create_awaiting(session, sqlite_world.keystore, new, actor=ACTOR, now=NOW),
        )

    with pytest.raises(AuthorityExists):
        again(KeyAlgorithm.P256, ISSUING)
    with pytest.raises(KeyUnavailable, match="one of rsa3072"):
        again(KeyAlgorithm.ED25519, CaName("mail"))


def test_unknown_authorities_are_not_found(sqlite_world: World) -> None:
    with pytest.raises(UnknownAuthority):
        sqlite_world.install(foreign_root().certificate, name=CaName("nowhere"))


def test_a_revoked_authority_still_signs_its_crl_and_nothing_else(store: Transactions) -> None:
    keystore = MemoryKeyStore()

    def make(session: Session) -> None:
        root = create_root(
            session, keystore, NewAuthority(ROOT, "Own Root CA", KeyAlgorithm.P384), public_url=URL, actor=ACTOR, now=NOW
        )
        new = NewAuthority(ISSUING, "Example Issuing CA", KeyAlgorithm.P256)
        issuing = create_issuing(session, keystore, root, new, public_url=URL, actor=ACTOR, now=NOW)
        number = session.exec(select(Certificate.id).where(Certificate.certifies_id == issuing.id)).one()
        _revoke(number or 0, session)

    store.write(make)
    with store.reading() as session:
        with pytest.raises(UnknownAuthority, match="no certificate in force"):
            load_authority(session, keystore, ISSUING, URL)
        assert load_crl_issuer(session, keystore, ISSUING, URL).certificate.subject == SUBJECT


def test_expiry_is_judged_when_it_is_installed(sqlite_world: World) -> None:
    root = foreign_root()
    own = sqlite_world.certified(root, Says(not_before=NOW - YEARS, not_after=NOW - timedelta(days=1)))
    with pytest.raises(ChainRefused, match="expired on"):
        sqlite_world.install(own, root.certificate)
