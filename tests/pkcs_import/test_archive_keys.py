"""The archive's own keys: made, found, proved, and retired."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlmodel import Session

from ca.errors import KeyUnavailable
from ca.keys import KeyAlgorithm
from foundation.transactions import Transactions
from pkcs_import.archive_keys import (
    archive_keys,
    current_archive_key,
    next_reference,
    open_archive_key,
    record_archive_key,
    retire_archive_keys,
)
from pkcs_import.errors import NoArchiveKey
from pkcs_import.opening import Opener
from pkcs_import.rotation import rewrap_batch
from tests.clocks import ManualClock
from tests.pkcs_import.archiving import ACTOR, KeysInMemory, curve_keys, events_of, make_archive_key, put
from tests.pkcs_import.recovering import add_person


def test_without_a_key_nothing_can_be_sealed(store: Transactions) -> None:
    with store.reading() as session:
        with pytest.raises(NoArchiveKey) as refused:
            current_archive_key(session)
        assert (archive_keys(session), next_reference(session)) == ([], "archive-1")
    assert "signetry archive create" in str(refused.value)


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.RSA2048, KeyAlgorithm.P256, KeyAlgorithm.P384])
def test_the_newest_key_is_the_one_that_is_sealed_to(store: Transactions, clock: ManualClock, algorithm: KeyAlgorithm) -> None:
    keystore = KeysInMemory()
    first = make_archive_key(store, keystore, "archive-1", clock.now(), KeyAlgorithm.P256)
    clock.advance(hours=1)
    second = make_archive_key(store, keystore, "archive-2", clock.now(), algorithm)
    with store.reading() as session:
        assert current_archive_key(session) == second
        newest, oldest = archive_keys(session)
        assert next_reference(session) == "archive-3"
    assert (newest.id, newest.key_id, newest.reference, newest.algorithm) == (second.row, second.key_id, "archive-2", algorithm)
    assert (newest.created_at, newest.retired_at, newest.sealed) == (clock.now(), None, 0)
    assert (oldest.id, oldest.key_id) == (first.row, first.key_id)
    created = events_of(store, "archive-key.created")
    assert [event.details for event in created] == [
        {"reference": "archive-1", "key": first.key_id, "algorithm": "p256"},
        {"reference": "archive-2", "key": second.key_id, "algorithm": str(algorithm)},
    ]


def test_an_attempt_that_was_broken_off_is_taken_up(store: Transactions, clock: ManualClock) -> None:
    keystore = KeysInMemory()
    left = open_archive_key(keystore, "archive-1", KeyAlgorithm.P256)
    again = make_archive_key(store, keystore, "archive-1", clock.now())
    assert keystore.keys == {"archive-1": left}

    def record() -> int:
        return store.write(
            lambda session: record_archive_key(session, left.public_key(), "archive-1", actor=ACTOR, now=clock.now())
        ).row

    assert record() == again.row
    assert len(events_of(store, "archive-key.created")) == 1


def test_of_two_who_record_a_key_at_once_both_have_it(store: Transactions, clock: ManualClock) -> None:
    (key,) = curve_keys(1)

    def slowly(session: Session) -> int:
        recorded = record_archive_key(session, key.public_key(), "archive-1", actor=ACTOR, now=clock.now())
        # As long as the other one needs to come to the same point.
        time.sleep(0.5)
        return recorded.row

    with ThreadPoolExecutor(2) as executor:
        first, second = executor.map(store.write, [slowly, slowly])
    assert first == second
    assert len(events_of(store, "archive-key.created")) == 1


def test_a_key_that_does_not_open_what_is_sealed_to_it_is_not_taken() -> None:
    class OnlySigns(KeysInMemory):
        def generate(self, reference: str, algorithm: KeyAlgorithm) -> ec.EllipticCurvePrivateKey:
            ours, another = curve_keys(2)
            super().generate(reference, algorithm)

            class Halves:
                curve, key_size = ours.curve, ours.key_size
                exchange = staticmethod(another.exchange)
                public_key = staticmethod(ours.public_key)

            ec.EllipticCurvePrivateKey.register(Halves)
            return Halves()  # type: ignore[return-value] # registered above

    with pytest.raises(KeyUnavailable) as refused:
        open_archive_key(OnlySigns(), "archive-1", KeyAlgorithm.P256)
    assert str(refused.value) == "the key 'archive-1' does not open what is sealed to it"


def test_nothing_is_sealed_to_a_key_that_only_signs() -> None:
    with pytest.raises(KeyUnavailable):
        open_archive_key(KeysInMemory(), "archive-1", KeyAlgorithm.ED25519)


def test_a_key_is_retired_when_nothing_is_sealed_to_it_any_more(store: Transactions, clock: ManualClock) -> None:
    keystore = KeysInMemory()
    person = add_person(store, "alice", clock.now())
    make_archive_key(store, keystore, "archive-1", clock.now())
    put(store, person, curve_keys(1)[0], clock.now())

    def retire() -> list[str]:
        return store.write(lambda session: retire_archive_keys(session, actor=ACTOR, now=clock.now()))

    assert retire() == []
    make_archive_key(store, keystore, "archive-2", clock.now())
    assert retire() == []
    rewrap_batch(store, Opener([keystore]), after=0)
    assert retire() == ["archive-1"]
    assert retire() == []
    with store.reading() as session:
        assert [(key.retired_at, key.sealed) for key in archive_keys(session)] == [(None, 1), (clock.now(), 0)]
    assert [event.details["reference"] for event in events_of(store, "archive-key.retired")] == ["archive-1"]
