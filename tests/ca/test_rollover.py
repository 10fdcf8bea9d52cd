"""Rolling an issuing CA over: who issues at which step, what is refused, and that every step can be repeated."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlmodel import Session, col, select, update

from audit.log import Actor
from audit.records import AuditEvent
from ca import hierarchy, installation, rollover
from ca.authorisation import CaName
from ca.authority_certificates import authority_name, sign_issuing
from ca.constraints import Constraints, constraints_of
from ca.errors import ForeignAuthority, RolloverRefused, UnknownAuthority
from ca.hierarchy import ISSUING, ROOT, NewAuthority
from ca.issuance import IssuingAuthority, build, record
from ca.keys import KeyAlgorithm
from ca.lineage import Lineage, Standing, is_over, lineage_of, lineages_of, standings
from ca.profiles import SMIME_SIGNING
from ca.ra_keys import create_ra_key
from ca.records import Certificate, CertificationAuthority
from ca.revocation import RevocationReason, revoke
from ca.rollover import Step
from ca.rows import id_of, newest_certificate, row_named
from foundation.transactions import Transactions
from tests.ca.authorities import ANN, NOW, ORGANISATION, make_root
from tests.ca.keystores import MemoryKeyStore, shared_key
from tests.ca.test_hierarchy import CONSTRAINTS, URL, make_both

ACTOR = Actor("test:rollover")
STEP = Step(ACTOR, NOW)


@pytest.fixture
def issuing(store: Transactions, keystore: MemoryKeyStore) -> IssuingAuthority:
    """An issuing CA with limits, in the database."""
    return store.write(lambda session: make_both(session, keystore, constraints=CONSTRAINTS))


def order(session: Session, lineage: Lineage, algorithm: KeyAlgorithm = KeyAlgorithm.P256) -> NewAuthority:
    name = CaName(lineage.successor.name) if lineage.successor else rollover.successor_name(session, lineage)
    return NewAuthority(name, f"CA {name}", algorithm, ORGANISATION)


def prepare(
    store: Transactions,
    keystore: MemoryKeyStore,
    name: str = ISSUING,
    *,
    algorithm: KeyAlgorithm = KeyAlgorithm.P256,
    elsewhere: bool = False,
) -> str:
    def act(session: Session) -> str:
        lineage = lineage_of(session, CaName(name))
        new = order(session, lineage, algorithm)
        return rollover.prepare(session, keystore, lineage, new, elsewhere=elsewhere, public_url=URL, step=STEP).name

    return store.write(act)


def make_ra_key(store: Transactions, keystore: MemoryKeyStore, name: str) -> None:
    def act(session: Session) -> None:
        authority = hierarchy.load_authority(session, keystore, CaName(name), URL)
        create_ra_key(session, keystore, authority, actor=ACTOR, now=NOW)

    store.write(act)


def activate(store: Transactions, name: str = ISSUING, *, needs_ra_key: bool = False) -> str:
    return store.write(
        lambda session: rollover.activate(session, lineage_of(session, CaName(name)), STEP, needs_ra_key=needs_ra_key).name
    )


def retire(store: Transactions, name: str, *, force: bool = False, step: Step = STEP) -> None:
    store.write(
        lambda session: rollover.retire(session, lineage_of(session, CaName(name)), CaName(name), step, force=force) and None
    )


def states(store: Transactions) -> dict[str, Standing]:
    with store.reading() as session:
        found = standings(session)
        return {row.name: found[id_of(row)] for row in session.exec(select(CertificationAuthority))}


def events(store: Transactions, action: str) -> list[str]:
    with store.reading() as session:
        return list(session.exec(select(AuditEvent.subject).where(col(AuditEvent.action) == action)))


def issue(store: Transactions, keystore: MemoryKeyStore, name: str) -> x509.Certificate:
    key = shared_key(KeyAlgorithm.P256, 200)

    def act(session: Session) -> bytes:
        authority = hierarchy.load_authority(session, keystore, CaName(name), URL)
        built = build(authority, SMIME_SIGNING, ANN, key.public_key(), now=NOW)
        record(session, built, authority=authority, authorisation=None, actor=ACTOR, now=NOW)
        return built.der

    return x509.load_der_x509_certificate(store.write(act))


@pytest.mark.usefixtures("issuing")
def test_a_successor_has_a_key_a_name_and_urls_of_its_own_and_the_same_root_and_limits(
    store: Transactions, keystore: MemoryKeyStore
) -> None:
    assert prepare(store, keystore) == "issuing-2"
    with store.reading() as session:
        before = hierarchy.load_authority(session, keystore, ISSUING, URL)
        after = hierarchy.load_authority(session, keystore, CaName("issuing-2"), URL)
    assert after.chain == before.chain
    assert after.certificate.subject != before.certificate.subject
    assert after.certificate.public_key() != before.certificate.public_key()
    assert constraints_of(after.certificate) == constraints_of(before.certificate) == CONSTRAINTS
    assert (after.crl_url, after.ca_issuers_url) == (f"{URL}/crl/issuing-2.crl", f"{URL}/aia/issuing-2.cer")
    assert states(store) == {"root": Standing.ACTIVE, "issuing": Standing.ACTIVE, "issuing-2": Standing.PREPARED}
    assert events(store, "ca.prepared") == ["ca:issuing-2"]


@pytest.mark.usefixtures("issuing")
def test_any_name_of_a_lineage_stands_for_the_one_that_issues(store: Transactions, keystore: MemoryKeyStore) -> None:
    prepare(store, keystore)
    with store.reading() as session:
        assert {lineage_of(session, CaName(name)).active.name for name in ("issuing", "issuing-2")} == {"issuing"}
    assert activate(store, "issuing-2") == "issuing-2"
    with store.reading() as session:
        lineage = lineage_of(session, ISSUING)
        assert (lineage.active.name, [row.name for row in lineage.former]) == ("issuing-2", ["issuing"])
        assert len(lineages_of(session, {ISSUING, CaName("issuing-2"), CaName("nobodys")})) == 1
        assert lineage_of(session, ROOT).active.name == "root"
        with pytest.raises(UnknownAuthority):
            lineage_of(session, CaName("nobodys"))


@pytest.mark.usefixtures("issuing")
def test_every_step_again_changes_nothing(store: Transactions, keystore: MemoryKeyStore) -> None:
    with pytest.raises(RolloverRefused, match=r"no successor of issuing is prepared"):
        activate(store)
    assert [prepare(store, keystore) for _ in range(2)] == ["issuing-2"] * 2
    with pytest.raises(RolloverRefused, match=r"issuing-2 is prepared already, under a root of ours and with a key of kind p256"):
        prepare(store, keystore, algorithm=KeyAlgorithm.P384)
    with pytest.raises(RolloverRefused, match=r"prepared already"):
        prepare(store, keystore, elsewhere=True)
    assert [activate(store) for _ in range(2)] == ["issuing-2"] * 2
    for _ in range(2):
        retire(store, "issuing")
    assert states(store) == {"root": Standing.ACTIVE, "issuing": Standing.RETIRED, "issuing-2": Standing.ACTIVE}
    assert [len(events(store, f"ca.{step}")) for step in ("prepared", "activated", "retired")] == [1, 1, 1]


@pytest.mark.usefixtures("issuing")
def test_a_lineage_goes_on_and_its_names_count_up(store: Transactions, keystore: MemoryKeyStore) -> None:
    def taken(session: Session) -> None:
        # Somebody made an authority of that name by hand.
        root = hierarchy.load_authority(session, keystore, ROOT, URL)
        new = NewAuthority(CaName("issuing-3"), "Other", KeyAlgorithm.P256)
        hierarchy.create_issuing(session, keystore, root, new, public_url=URL, actor=ACTOR, now=NOW)

    store.write(taken)
    for name in ("issuing-2", "issuing-4", "issuing-5"):
        assert prepare(store, keystore) == name
        assert activate(store) == name
    with store.reading() as session:
        lineage = lineage_of(session, CaName("issuing-4"))
        assert lineage.active.name == "issuing-5"
        assert [row.name for row in lineage.former] == ["issuing-4", "issuing-2", "issuing"]
        assert lineage_of(session, CaName("issuing-3")).former == ()


@pytest.mark.usefixtures("issuing")
def test_the_name_of_a_successor_fits_where_names_stand(store: Transactions, keystore: MemoryKeyStore) -> None:
    renamed = update(CertificationAuthority).values(name="x" * 60).where(col(CertificationAuthority.name) == "issuing")
    store.write(lambda session: session.execute(renamed))
    assert prepare(store, keystore, "x" * 60) == "x" * 58 + "-2"


@pytest.mark.usefixtures("issuing")
def test_a_successor_that_was_given_up_makes_room_for_another(store: Transactions, keystore: MemoryKeyStore) -> None:
    prepare(store, keystore)
    retire(store, "issuing-2")
    assert states(store)["issuing-2"] is Standing.RETIRED
    with pytest.raises(RolloverRefused, match=r"no successor"):
        activate(store)
    assert prepare(store, keystore, algorithm=KeyAlgorithm.P384) == "issuing-3"
    assert activate(store) == "issuing-3"


@pytest.mark.usefixtures("issuing")
def test_without_an_ra_key_nothing_is_activated(store: Transactions, keystore: MemoryKeyStore) -> None:
    prepare(store, keystore)
    with pytest.raises(RolloverRefused, match=r"issuing-2 has no RA key yet"):
        activate(store, needs_ra_key=True)
    make_ra_key(store, keystore, "issuing-2")
    assert activate(store, needs_ra_key=True) == "issuing-2"


@pytest.mark.usefixtures("issuing")
def test_a_ca_that_issues_is_not_retired_nor_one_whose_certificates_are_good(
    store: Transactions, keystore: MemoryKeyStore
) -> None:
    prepare(store, keystore)
    with pytest.raises(RolloverRefused, match=r"issuing is the CA that issues"):
        retire(store, "issuing", force=True)
    make_ra_key(store, keystore, "issuing")
    held = issue(store, keystore, "issuing")
    activate(store)
    # The RA's certificate does not count: nobody renews it by enrolling.
    with pytest.raises(RolloverRefused, match=r"1 certificates of issuing are good and could not be renewed"):
        retire(store, "issuing")
    after = Step(ACTOR, held.not_valid_after_utc + timedelta(seconds=1))
    with store.reading() as session:
        number = id_of(row_named(session, ISSUING))
        assert rollover.good_certificates(session, number, now=after.now) == 0
        assert not is_over(session, number, after.now)
    retire(store, "issuing", force=True)
    with store.reading() as session:
        assert not is_over(session, number, NOW)
        # Its RA's certificate and the one issued have both expired by then.
        assert is_over(session, number, after.now)


@pytest.mark.usefixtures("issuing")
def test_revoked_certificates_keep_nobody_from_retiring(store: Transactions, keystore: MemoryKeyStore) -> None:
    held = issue(store, keystore, "issuing")
    prepare(store, keystore)
    activate(store)

    def act(session: Session) -> None:
        row = session.exec(select(Certificate).where(Certificate.serial == f"{held.serial_number:032x}")).one()
        assert row.id is not None
        revoke(session, [row.id], RevocationReason.SUPERSEDED, actor=ACTOR, now=NOW)

    store.write(act)
    retire(store, "issuing")
    with store.reading() as session:
        # Its CRL goes on until what it lists has expired.
        assert not is_over(session, id_of(row_named(session, ISSUING)), NOW)


def test_a_ca_whose_key_is_lost_is_rolled_over_all_the_same(
    store: Transactions, keystore: MemoryKeyStore, issuing: IssuingAuthority
) -> None:
    def act(session: Session) -> None:
        row = newest_certificate(session, row_named(session, issuing.name))
        assert row.id is not None
        revoke(session, [row.id], RevocationReason.KEY_COMPROMISE, actor=ACTOR, now=NOW)

    store.write(act)
    prepare(store, keystore)
    assert activate(store) == "issuing-2"


@pytest.mark.usefixtures("issuing")
def test_a_revoked_successor_does_not_take_over(store: Transactions, keystore: MemoryKeyStore) -> None:
    prepare(store, keystore)

    def act(session: Session) -> None:
        row = newest_certificate(session, row_named(session, CaName("issuing-2")))
        assert row.id is not None
        revoke(session, [row.id], RevocationReason.CESSATION_OF_OPERATION, actor=ACTOR, now=NOW)

    store.write(act)
    with pytest.raises(UnknownAuthority, match=r"no certificate in force"):
        activate(store)


@pytest.mark.usefixtures("issuing")
def test_a_root_is_not_rolled_over(store: Transactions, keystore: MemoryKeyStore) -> None:
    with pytest.raises(RolloverRefused, match=r"root is a root"):
        prepare(store, keystore, ROOT)


@pytest.mark.usefixtures("issuing")
def test_somebody_elses_root_certifies_a_successor_and_the_one_after_that(store: Transactions, keystore: MemoryKeyStore) -> None:
    assert prepare(store, keystore, elsewhere=True) == "issuing-2"
    assert states(store)["issuing-2"] is Standing.AWAITING
    with pytest.raises(RolloverRefused, match=r"'issuing-2' has no certificate yet"):
        activate(store)
    with store.reading() as session:
        request = hierarchy.certificate_request(session, keystore, CaName("issuing-2"), x509.Name([]))
    assert request.public_bytes(Encoding.DER)
    theirs = _certified_by_others(keystore)
    store.write(lambda session: installation.install(session, keystore, CaName("issuing-2"), theirs, actor=ACTOR, now=NOW))
    assert states(store)["issuing-2"] is Standing.PREPARED
    assert prepare(store, keystore, elsewhere=True) == "issuing-2"
    assert activate(store) == "issuing-2"
    with pytest.raises(ForeignAuthority, match=r"make a request with --csr"):
        prepare(store, keystore)
    assert prepare(store, keystore, elsewhere=True) == "issuing-3"


def _certified_by_others(keystore: MemoryKeyStore) -> list[x509.Certificate]:
    """Return a certificate over the successor's key from somebody else's root, and that root."""
    root = make_root(shared_key(KeyAlgorithm.P384, 300), public_url="http://theirs.example.com")
    key = keystore.load("issuing-2-p256")
    built = sign_issuing(root, authority_name("Theirs", None), key.public_key(), constraints=Constraints(), now=NOW)
    return [x509.load_der_x509_certificate(built.der), root.certificate]
