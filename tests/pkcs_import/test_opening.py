"""Opening seals: with the right key, of the right record."""

import pytest
from sqlalchemy import select, update
from sqlmodel import Session

from ca.errors import KeyUnavailable
from ca.keys import KeyAlgorithm
from foundation.tables import table_of
from foundation.transactions import Transactions
from pkcs_import.errors import SealBroken
from pkcs_import.opening import Opener, SealedRecord, sealed_records
from pkcs_import.records import ArchivedKey
from tests.clocks import ManualClock
from tests.pkcs_import.archiving import ArchivedPair, KeysInMemory, curve_keys, make_archive_key, put
from tests.pkcs_import.recovering import add_person

KEYS = table_of(ArchivedKey)


@pytest.fixture
def keystore() -> KeysInMemory:
    return KeysInMemory()


@pytest.fixture
def pairs(store: Transactions, clock: ManualClock, keystore: KeysInMemory) -> tuple[ArchivedPair, ArchivedPair]:
    """Keys of two persons."""
    make_archive_key(store, keystore, "archive-1", clock.now())
    of_alice, of_bob = curve_keys(2)
    alice, bob = (add_person(store, name, clock.now()) for name in ("alice", "bob"))
    return put(store, alice, of_alice, clock.now()), put(store, bob, of_bob, clock.now())


def record_of(store: Transactions, pair: ArchivedPair) -> SealedRecord:
    with store.reading() as session:
        return sealed_records(session, [pair.id])[pair.id]


def test_a_record_opens(store: Transactions, keystore: KeysInMemory, pairs: tuple[ArchivedPair, ArchivedPair]) -> None:
    opener = Opener([keystore])
    assert [opener.open(record_of(store, pair)) for pair in pairs] == [pair.pkcs8 for pair in pairs]
    assert keystore.loaded == ["archive-1"]


@pytest.mark.parametrize(
    "exchanged",
    [
        ("wrapped_key", "nonce", "ciphertext"),
        ("person_id",),
        ("uid",),
        ("spki_sha256",),
        ("uid", "wrapped_key", "nonce", "ciphertext"),
        ("spki_sha256", "uid", "wrapped_key", "nonce", "ciphertext"),
    ],
    ids=["seals", "persons", "names", "public halves", "names and seals", "all but the person"],
)
def test_rows_cannot_be_exchanged(
    store: Transactions, keystore: KeysInMemory, pairs: tuple[ArchivedPair, ArchivedPair], exchanged: tuple[str, ...]
) -> None:
    def exchange(session: Session) -> None:
        columns = [KEYS.c[name] for name in exchanged]
        first, second = (session.execute(select(*columns).where(KEYS.c.id == pair.id)).one() for pair in pairs)
        for pair, row, aside in ((pairs[0], second, True), (pairs[1], first, False), (pairs[0], second, False)):
            values = dict(zip(exchanged, row, strict=True))
            if aside and "uid" in exchanged:
                # It is unique: the other row gives it up first.
                values["uid"] = "0" * 32
            session.execute(update(KEYS).where(KEYS.c.id == pair.id).values(values))

    store.write(exchange)
    opener = Opener([keystore])
    for pair in pairs:
        with pytest.raises(SealBroken):
            opener.open(record_of(store, pair))


def test_a_key_of_the_same_name_that_is_another_opens_nothing(
    store: Transactions, keystore: KeysInMemory, pairs: tuple[ArchivedPair, ArchivedPair]
) -> None:
    del keystore.keys["archive-1"]
    with pytest.raises(KeyUnavailable) as missing:
        Opener([keystore]).open(record_of(store, pairs[0]))
    assert str(missing.value) == "there is no key 'archive-1'"
    keystore.generate("archive-1", KeyAlgorithm.P256)
    with pytest.raises(KeyUnavailable) as another:
        Opener([keystore]).open(record_of(store, pairs[0]))
    assert str(another.value) == "the key 'archive-1' is not the one that the archive knows by this name"
    keystore.keys["archive-1"] = KeysInMemory().generate("x", KeyAlgorithm.ED25519)
    with pytest.raises(KeyUnavailable):
        Opener([keystore]).open(record_of(store, pairs[0]))


def test_keys_of_an_earlier_store_are_found(
    store: Transactions, clock: ManualClock, keystore: KeysInMemory, pairs: tuple[ArchivedPair, ArchivedPair]
) -> None:
    token = KeysInMemory()
    make_archive_key(store, token, "archive-2", clock.now(), KeyAlgorithm.RSA2048)
    opener = Opener([token, keystore])
    assert opener.open(record_of(store, pairs[0])) == pairs[0].pkcs8
    with store.reading() as session:
        assert sealed_records(session, []) == {}


def test_what_was_closed_loads_its_keys_again(
    store: Transactions, keystore: KeysInMemory, pairs: tuple[ArchivedPair, ArchivedPair]
) -> None:
    opener = Opener([keystore])
    for _ in range(2):
        assert opener.open(record_of(store, pairs[0])) == pairs[0].pkcs8
        opener.close()
    assert keystore.loaded == ["archive-1", "archive-1"]
