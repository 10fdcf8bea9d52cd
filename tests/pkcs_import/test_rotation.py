"""Wrapping the archive to another key: nothing is lost, nothing is opened, and it may be broken off anywhere."""

import pytest
from sqlalchemy import update
from sqlmodel import Session

from ca.errors import KeyUnavailable
from ca.keys import KeyAlgorithm
from foundation.tables import table_of
from foundation.transactions import Transactions
from pkcs_import import rotation
from pkcs_import.errors import SealBroken
from pkcs_import.opening import Opener, SealedRecord, sealed_records
from pkcs_import.records import ArchivedKey
from pkcs_import.rotation import Batch, left_to_rewrap, rewrap_batch
from pkcs_import.sealing import ArchivePublicKey, SealedKey
from tests.clocks import ManualClock
from tests.pkcs_import.archiving import ArchivedPair, KeysInMemory, curve_keys, make_archive_key, put
from tests.pkcs_import.recovering import add_person

KEYS = table_of(ArchivedKey)


@pytest.fixture
def keystore() -> KeysInMemory:
    return KeysInMemory()


@pytest.fixture
def archived(
    store: Transactions, clock: ManualClock, keystore: KeysInMemory, monkeypatch: pytest.MonkeyPatch
) -> list[ArchivedPair]:
    """Five keys of two persons, sealed to a key that has a successor."""
    monkeypatch.setattr(rotation, "_BATCH", 2)
    persons = [add_person(store, name, clock.now()) for name in ("alice", "bob")]
    make_archive_key(store, keystore, "archive-1", clock.now())
    kept = [put(store, persons[number % 2], key, clock.now()) for number, key in enumerate(curve_keys(5))]
    make_archive_key(store, keystore, "archive-2", clock.now(), KeyAlgorithm.RSA2048)
    return kept


def left(store: Transactions) -> int:
    with store.reading() as session:
        return left_to_rewrap(session)


def opened(store: Transactions, keystore: KeysInMemory, kept: list[ArchivedPair]) -> list[bytes]:
    opener = Opener([keystore])
    with store.reading() as session:
        records = sealed_records(session, [each.id for each in kept])
    return [opener.open(records[each.id]) for each in kept]


def test_everything_opens_with_the_new_key_alone(
    store: Transactions, keystore: KeysInMemory, archived: list[ArchivedPair]
) -> None:
    ids = [each.id for each in archived]
    assert left(store) == 5
    opener, batches, last = Opener([keystore]), [], 0
    while (batch := rewrap_batch(store, opener, after=last)).last is not None:
        batches.append(batch)
        last = batch.last
    assert batches == [Batch(2, (), ids[1]), Batch(2, (), ids[3]), Batch(1, (), ids[4])]
    assert left(store) == 0
    del keystore.keys["archive-1"]
    assert opened(store, keystore, archived) == [each.pkcs8 for each in archived]


def test_it_goes_on_where_it_was_broken_off(store: Transactions, keystore: KeysInMemory, archived: list[ArchivedPair]) -> None:
    rewrap_batch(store, Opener([keystore]), after=0)
    assert left(store) == 3
    # Half of them is sealed to each key now, and all of them open.
    assert opened(store, keystore, archived) == [each.pkcs8 for each in archived]
    begun_again = rewrap_batch(store, Opener([keystore]), after=0)
    assert begun_again == Batch(2, (), archived[3].id)


def test_a_broken_seal_is_left_as_it_is_and_told(
    store: Transactions, keystore: KeysInMemory, archived: list[ArchivedPair]
) -> None:
    broken = archived[1].id

    def damage(session: Session) -> None:
        session.execute(update(KEYS).where(KEYS.c.id == broken).values(wrapped_key=b"\2damaged"))

    store.write(damage)
    assert rewrap_batch(store, Opener([keystore]), after=0) == Batch(1, (broken,), broken)
    assert rewrap_batch(store, Opener([keystore]), after=broken).rewrapped == 2
    with store.reading() as session:
        record = sealed_records(session, [broken])[broken]
    assert (record.reference, record.sealed.wrapped_key) == ("archive-1", b"\2damaged")


def test_of_two_rotations_at_once_the_first_ones_work_stays(
    store: Transactions, keystore: KeysInMemory, archived: list[ArchivedPair]
) -> None:
    class Slow(Opener):
        def rewrap(self, record: SealedRecord, to: ArchivePublicKey) -> SealedKey:
            rewrap_batch(store, Opener([keystore]), after=0)
            return super().rewrap(record, to)

    assert rewrap_batch(store, Slow([keystore]), after=0) == Batch(0, (), archived[1].id)
    assert opened(store, keystore, archived) == [each.pkcs8 for each in archived]


def test_without_the_old_key_nothing_is_touched(
    store: Transactions, keystore: KeysInMemory, archived: list[ArchivedPair]
) -> None:
    del keystore.keys["archive-1"]
    with pytest.raises(KeyUnavailable) as refused:
        rewrap_batch(store, Opener([keystore]), after=0)
    assert str(refused.value) == "there is no key 'archive-1'"
    assert left(store) == len(archived)


@pytest.mark.parametrize("reference", ["archive-1", "archive-3"])
def test_nothing_is_wrapped_to_a_key_that_the_store_has_not(
    store: Transactions, clock: ManualClock, keystore: KeysInMemory, archived: list[ArchivedPair], reference: str
) -> None:
    """Who can write to the database alone could add a key of their own, under a name that is there or not."""
    opener, theirs = Opener([keystore]), KeysInMemory()
    rewrap_batch(store, opener, after=0)
    make_archive_key(store, theirs, reference, clock.now())
    with pytest.raises(KeyUnavailable):
        rewrap_batch(store, opener, after=0)
    assert left(store) == len(archived)
    assert opened(store, keystore, archived) == [each.pkcs8 for each in archived]


def test_wrapping_again_does_not_open_what_is_sealed(
    store: Transactions, keystore: KeysInMemory, archived: list[ArchivedPair]
) -> None:
    def exchange(session: Session) -> None:
        session.execute(update(KEYS).where(KEYS.c.id == archived[0].id).values(ciphertext=bytes(100)))

    store.write(exchange)
    # That it is damaged is found out by who opens it, not by who wraps it.
    assert rewrap_batch(store, Opener([keystore]), after=0).rewrapped == 2
    with pytest.raises(SealBroken):
        opened(store, keystore, archived[:1])
