"""The archive's own key pairs, as recorded: made, found, and retired once nothing is sealed to them any more.

The newest is the one that is sealed to. One that was retired stays in its store: backups of the database are sealed to it.
"""

from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from audit.log import Actor, Event
from audit.log import record as record_event
from ca.errors import KeyUnavailable
from ca.keys import KeyAlgorithm, KeyStore, algorithm_of, open_key
from foundation.tables import table_of
from pkcs_import.errors import NoArchiveKey, SealBroken
from pkcs_import.records import ArchivedKey, ArchiveKey
from pkcs_import.sealing import ArchivePrivateKey, ArchivePublicKey, Binding, new_uid, unseal

_ARCHIVE_KEY = table_of(ArchiveKey)
_KEY = table_of(ArchivedKey)
# The public half, as whoever made the key has it.
ArchiveKeyHalf = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_PROBE = b"signetry: does what is sealed to this key open with it?"


@dataclass(frozen=True, slots=True)
class ArchiveKeyRecord:
    """An archive key as recorded; ``sealed`` is how many private keys are sealed to it now."""

    id: int
    key_id: str
    reference: str
    algorithm: KeyAlgorithm
    created_at: datetime
    retired_at: datetime | None
    sealed: int


def current_archive_key(session: Session) -> ArchivePublicKey:
    """Return the newest archive key, which private keys are sealed to. Raises NoArchiveKey: there is none yet."""
    row = session.execute(select(_ARCHIVE_KEY.c.id, _ARCHIVE_KEY.c.spki).order_by(_ARCHIVE_KEY.c.id.desc()).limit(1)).first()
    if row is None:
        raise NoArchiveKey("there is no key to seal private keys to: signetry archive create makes one")
    return ArchivePublicKey.from_spki(row.id, bytes(row.spki))


def archive_keys(session: Session) -> list[ArchiveKeyRecord]:
    """Return every archive key, the newest first."""
    counted = select(_KEY.c.archive_key_id, func.count()).group_by(_KEY.c.archive_key_id)
    sealed: dict[int, int] = {row[0]: row[1] for row in session.execute(counted)}
    rows = session.execute(select(_ARCHIVE_KEY).order_by(_ARCHIVE_KEY.c.id.desc()))
    return [
        ArchiveKeyRecord(
            row.id,
            row.key_id,
            row.reference,
            KeyAlgorithm(row.algorithm),
            row.created_at,
            row.retired_at,
            sealed.get(row.id, 0),
        )
        for row in rows
    ]


def next_reference(session: Session) -> str:
    """Return under which name the next archive key is kept: ``archive-1`` and so on."""
    made: int = session.execute(select(func.count()).select_from(_ARCHIVE_KEY)).scalar_one()
    return f"archive-{made + 1}"


def open_archive_key(keystore: KeyStore, reference: str, algorithm: KeyAlgorithm) -> ArchivePrivateKey:
    """Return the key for a row about to be written, new or left by an interrupted attempt; it opens what is sealed to it.

    Raises:
        KeyUnavailable: the store makes no such key, or has one that does not do what an archive key must.
    """
    key = open_key(keystore, reference, algorithm)
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        raise KeyUnavailable(f"nothing can be sealed to a key of kind {algorithm}")
    public = ArchivePublicKey.from_spki(0, _spki(key.public_key()))
    binding = Binding(new_uid(), 0, public.key_id)
    try:
        opened = unseal(key, public.seal(_PROBE, binding), binding)
    except SealBroken:
        opened = b""
    if opened != _PROBE:
        raise KeyUnavailable(f"the key {reference!r} does not open what is sealed to it")
    return key


def record_archive_key(session: Session, key: ArchiveKeyHalf, reference: str, *, actor: Actor, now: datetime) -> ArchivePublicKey:
    """Record the public half of an archive key: from now on it is the one that is sealed to. What is recorded already stays."""
    spki = _spki(key)
    public = ArchivePublicKey.from_spki(0, spki)
    is_it = select(_ARCHIVE_KEY.c.id).where(_ARCHIVE_KEY.c.key_id == public.key_id)
    recorded: int | None = session.scalar(is_it)
    if recorded is not None:
        return ArchivePublicKey.from_spki(recorded, spki)
    values = {
        "key_id": public.key_id,
        "reference": reference,
        "algorithm": str(algorithm_of(key)),
        "spki": spki,
        "created_at": now,
    }
    try:
        with session.begin_nested():
            row: int = session.execute(insert(_ARCHIVE_KEY).returning(_ARCHIVE_KEY.c.id), values).scalar_one()
    except IntegrityError:
        # Somebody else has taken up the same key at this moment.
        return ArchivePublicKey.from_spki(session.scalars(is_it).one(), spki)
    details = {"reference": reference, "key": public.key_id, "algorithm": values["algorithm"]}
    record_event(session, Event(actor, "archive-key.created", f"archive-key:{row}", details=details), now=now)
    return ArchivePublicKey.from_spki(row, spki)


def retire_archive_keys(session: Session, *, actor: Actor, now: datetime) -> list[str]:
    """Retire every archive key but the newest that nothing is sealed to; return their names."""
    retired = []
    for record in archive_keys(session)[1:]:
        if record.sealed or record.retired_at is not None:
            continue
        session.execute(update(_ARCHIVE_KEY).where(_ARCHIVE_KEY.c.id == record.id).values(retired_at=now))
        details = {"reference": record.reference, "key": record.key_id}
        record_event(session, Event(actor, "archive-key.retired", f"archive-key:{record.id}", details=details), now=now)
        retired.append(record.reference)
    return retired


def _spki(key: ArchiveKeyHalf) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
