"""RA keys: made in time, loaded newest first, dropped when expired."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session, col, select, update

from audit.log import Actor
from audit.records import AuditEvent
from ca.errors import KeyUnavailable
from ca.issuance import IssuingAuthority
from ca.keys import KeyAlgorithm
from ca.ra_keys import RA_KEY_RENEWED_BEFORE_END, RaKeyPair, create_ra_key, is_ra_key_due, load_ra_keys
from ca.records import Certificate
from foundation.transactions import Transactions
from tests.ca.assertions import assert_is_scep_ra
from tests.ca.authorities import NOW
from tests.ca.keystores import MemoryKeyStore
from tests.ca.test_hierarchy import make_both

ACTOR = Actor("test:ra")
DAY = timedelta(days=1)


@pytest.fixture
def issuing(store: Transactions, keystore: MemoryKeyStore) -> IssuingAuthority:
    """An EC issuing CA in the database."""
    return store.write(lambda session: make_both(session, keystore))


def create(store: Transactions, keystore: MemoryKeyStore, issuing: IssuingAuthority, now: datetime) -> RaKeyPair:
    """Make an RA key in a transaction of its own."""
    return store.write(lambda session: create_ra_key(session, keystore, issuing, actor=ACTOR, now=now))


def test_an_ec_authority_gets_an_rsa_ra_key(store: Transactions, keystore: MemoryKeyStore, issuing: IssuingAuthority) -> None:
    made = create(store, keystore, issuing, NOW)
    assert_is_scep_ra(made.certificate)
    made.certificate.verify_directly_issued_by(issuing.certificate)
    assert made.private_key.key_size == 2048
    assert made.private_key.public_key() == made.certificate.public_key()
    with store.reading() as session:
        (loaded,) = load_ra_keys(session, keystore, issuing.id, now=NOW)
        event = session.exec(select(AuditEvent).where(AuditEvent.action == "ra-key.created")).one()
    assert loaded == made
    assert event.subject == "ca:issuing"


def test_ra_keys_load_newest_first_and_until_they_expire(
    store: Transactions, keystore: MemoryKeyStore, issuing: IssuingAuthority
) -> None:
    first = create(store, keystore, issuing, NOW)
    second = create(store, keystore, issuing, NOW + 60 * DAY)
    assert first.certificate.subject != second.certificate.subject
    with store.reading() as session:
        for now, expected in ((60, [second, first]), (89, [second, first]), (90, [second]), (151, [])):
            assert load_ra_keys(session, keystore, issuing.id, now=NOW + now * DAY) == expected


def test_a_revoked_ra_key_is_not_used_any_more(store: Transactions, keystore: MemoryKeyStore, issuing: IssuingAuthority) -> None:
    create(store, keystore, issuing, NOW)

    def revoke(session: Session) -> None:
        session.execute(update(Certificate).where(col(Certificate.profile) == "scep-ra").values(revoked_at=NOW))

    store.write(revoke)
    with store.reading() as session:
        assert load_ra_keys(session, keystore, issuing.id, now=NOW) == []
        assert is_ra_key_due(session, issuing.id, now=NOW)


def test_a_new_ra_key_is_due_a_third_before_the_old_ones_end(
    store: Transactions, keystore: MemoryKeyStore, issuing: IssuingAuthority
) -> None:
    with store.reading() as session:
        assert is_ra_key_due(session, issuing.id, now=NOW)
    made = create(store, keystore, issuing, NOW)
    due = made.certificate.not_valid_after_utc - RA_KEY_RENEWED_BEFORE_END
    with store.reading() as session:
        assert not is_ra_key_due(session, issuing.id, now=due)
        assert is_ra_key_due(session, issuing.id, now=due + timedelta(seconds=1))
    create(store, keystore, issuing, due + DAY)
    with store.reading() as session:
        assert not is_ra_key_due(session, issuing.id, now=due + DAY)


def test_an_interrupted_attempt_leaves_a_key_for_the_next_one(
    store: Transactions, keystore: MemoryKeyStore, issuing: IssuingAuthority
) -> None:
    left = keystore.generate("issuing-ra-1", KeyAlgorithm.RSA2048)
    assert create(store, keystore, issuing, NOW).private_key is left


def test_an_ra_key_that_is_no_rsa_key_is_refused(
    store: Transactions, keystore: MemoryKeyStore, issuing: IssuingAuthority
) -> None:
    create(store, keystore, issuing, NOW)
    keystore.kept["issuing-ra-1"] = issuing.private_key
    with store.reading() as session, pytest.raises(KeyUnavailable, match="must be an RSA key"):
        load_ra_keys(session, keystore, issuing.id, now=NOW)
