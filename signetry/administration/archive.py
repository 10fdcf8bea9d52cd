"""The key archive's own keys, as operators see them: made, shown, and replaced by others."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from ca.keys import KeyAlgorithm
from pkcs_import import archive_keys
from pkcs_import.archive_keys import ArchiveKeyRecord, next_reference, open_archive_key, record_archive_key
from pkcs_import.errors import NoArchiveKey
from pkcs_import.rotation import left_to_rewrap
from signetry import archive_rotation
from signetry.archive_keystore import ensure_archive_passphrase, open_archive_keystores
from signetry.house import House


@dataclass(frozen=True, slots=True)
class ArchiveKeyView:
    """An archive key: its name in its store, and how many private keys are sealed to it now."""

    reference: str
    key_id: str
    algorithm: KeyAlgorithm
    created_at: datetime
    retired_at: datetime | None
    sealed: int


@dataclass(frozen=True, slots=True)
class ArchiveView:
    """The archive: where its keys are, whether its process is to run beside the service and answers, and its keys, newest first.

    ``left`` is how many private keys are sealed to another key than the newest: a rotation has not come to its end.
    """

    kept_in: str
    online: bool
    listening: bool
    left: int
    keys: tuple[ArchiveKeyView, ...]


@dataclass(frozen=True, slots=True)
class Rotation:
    """A rotation, done or rehearsed.

    Attributes:
        key: the archive key that everything is wrapped to; empty where a rehearsal would make a new one.
        created: whether it is new.
        rewrapped: how many private keys were, or would be, wrapped to it.
        broken: the archived keys whose seal does not open, by number; they stay as they are.
        retired: the archive keys that nothing is sealed to any more.
    """

    key: str
    created: bool
    rewrapped: int
    broken: tuple[int, ...] = ()
    retired: tuple[str, ...] = ()


def status(house: House) -> ArchiveView:
    """Return how the archive stands. No private key is needed for that, and none is opened."""
    with house.transactions.reading() as session:
        found = archive_keys.archive_keys(session)
        left = left_to_rewrap(session) if found else 0
    configured = house.settings.archive
    kept_in = f"the token {configured.pkcs11.token!r}" if configured.pkcs11.is_configured else "files"
    return ArchiveView(
        kept_in,
        configured.online,
        house.archive.is_listening(),
        left,
        tuple(_view(each) for each in found),
    )


def ensure_key(house: House) -> tuple[ArchiveKeyView, bool]:
    """Return the newest archive key, made if there is none, and whether it was.

    Raises:
        ConfigurationError: the passphrase of its file is gone, or cannot be read.
        KeyUnavailable: the store makes no such key.
    """
    with house.transactions.reading() as session:
        found = archive_keys.archive_keys(session)
    if found:
        return _view(found[0]), False
    return _make(house), True


def rotate(house: House, *, dry_run: bool, progress: Callable[[int, int], None] | None = None) -> Rotation:
    """Make a new archive key and wrap everything to it; one that was broken off goes on with the key it has made.

    The process that wraps holds the archive's private keys; this one does not.

    Raises:
        NoArchiveKey: there is none to be replaced.
        ConfigurationError, KeyUnavailable: a key cannot be made or used.
        ArchiveUnavailable: that process was broken off.
    """
    with house.transactions.reading() as session:
        found = archive_keys.archive_keys(session)
        if not found:
            raise NoArchiveKey("there is no archive key to be replaced: signetry archive create makes the first one")
        left = left_to_rewrap(session)
    goes_on = left > 0 or any(each.retired_at is None for each in found[1:])
    if dry_run:
        return Rotation(found[0].reference, created=False, rewrapped=left) if goes_on else _would_begin(found)
    key = found[0].reference if goes_on else _make(house).reference
    done = archive_rotation.run(house.settings, house.actor, progress)
    return Rotation(key, not goes_on, done.rewrapped, done.broken, done.retired)


def _would_begin(found: list[ArchiveKeyRecord]) -> Rotation:
    return Rotation("", created=True, rewrapped=sum(each.sealed for each in found), retired=(found[0].reference,))


def _make(house: House) -> ArchiveKeyView:
    """Make an archive key; what an interrupted attempt left in the store is taken up."""
    ensure_archive_passphrase(house.settings)
    keystores = open_archive_keystores(house.settings)
    try:
        with house.transactions.reading() as session:
            reference = next_reference(session)
        # Outside a transaction: a token may take minutes.
        key = open_archive_key(keystores[0], reference, house.settings.archive.key_algorithm)
    finally:
        for keystore in keystores:
            keystore.close()

    def act(session: Session) -> ArchiveKeyView:
        recorded = record_archive_key(session, key.public_key(), reference, actor=house.actor, now=house.clock.now())
        return next(_view(each) for each in archive_keys.archive_keys(session) if each.id == recorded.row)

    return house.transactions.write(act)


def _view(record: ArchiveKeyRecord) -> ArchiveKeyView:
    return ArchiveKeyView(record.reference, record.key_id, record.algorithm, record.created_at, record.retired_at, record.sealed)
