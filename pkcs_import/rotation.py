"""Wrapping what is in the archive to its newest key, in batches that may be broken off at any moment.

No private key of a person is opened: of each seal the AES key alone is, and wrapped again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select, update
from sqlmodel import Session

from foundation.tables import table_of
from foundation.transactions import Transactions
from pkcs_import.archive_keys import current_archive_key
from pkcs_import.errors import SealBroken
from pkcs_import.opening import Opener, SealedRecord, sealed_records
from pkcs_import.records import ArchivedKey, ArchiveKey
from pkcs_import.sealing import ArchivePublicKey, SealedKey

_KEY = table_of(ArchivedKey)
_ARCHIVE_KEY = table_of(ArchiveKey)
# Some tenths of a second of work; other writers wait for the writing of it alone.
_BATCH: Final = 100


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of some of the archived keys: how many were wrapped again, and the ids of those whose seal is broken.

    ``last`` is the id to go on behind; None when there are no more.
    """

    rewrapped: int
    broken: tuple[int, ...]
    last: int | None


def left_to_rewrap(session: Session) -> int:
    """Return how many archived keys are sealed to another archive key than the newest. Raises NoArchiveKey."""
    current = current_archive_key(session).row
    left: int = session.execute(select(func.count()).select_from(_KEY).where(_KEY.c.archive_key_id != current)).scalar_one()
    return left


def rewrap_batch(transactions: Transactions, opener: Opener, *, after: int) -> Batch:
    """Wrap the next archived keys, by their ids from behind ``after``, to the newest archive key.

    Raises:
        NoArchiveKey: there is none.
        KeyUnavailable: the key that they are sealed to, or the newest, cannot be used.
    """
    with transactions.reading() as session:
        current = current_archive_key(session)
        waiting = (_KEY.c.archive_key_id != current.row) & (_KEY.c.id > after)
        ids = session.scalars(select(_KEY.c.id).where(waiting).order_by(_KEY.c.id).limit(_BATCH)).all()
        records = sealed_records(session, ids)
        reference = session.scalars(select(_ARCHIVE_KEY.c.reference).where(_ARCHIVE_KEY.c.id == current.row)).one()
    if not ids:
        return Batch(0, (), None)
    # A public half in the database may be anybody's, or of a key that is lost: nothing is wrapped to what we could not open.
    opener.require(reference, current.key_id)
    rewrapped: list[tuple[SealedRecord, SealedKey]] = []
    broken: list[int] = []
    for key_id in ids:
        found = _rewrapped(opener, records[key_id], current)
        if found is None:
            broken.append(key_id)
        else:
            rewrapped.append((records[key_id], found))
    return Batch(transactions.write(lambda session: _store(session, rewrapped)), tuple(broken), ids[-1])


def _rewrapped(opener: Opener, record: SealedRecord, to: ArchivePublicKey) -> SealedKey | None:
    try:
        return opener.rewrap(record, to)
    except SealBroken:
        return None


def _store(session: Session, rewrapped: Sequence[tuple[SealedRecord, SealedKey]]) -> int:
    """Write new wrappings; where another rotation was there before, its own stays."""
    stored = 0
    for record, sealed in rewrapped:
        as_read = (_KEY.c.id == record.id) & (_KEY.c.archive_key_id == record.sealed.archive_key)
        values = {"archive_key_id": sealed.archive_key, "wrapped_key": sealed.wrapped_key}
        stored += len(session.execute(update(_KEY).where(as_read).values(values).returning(_KEY.c.id)).all())
    return stored
