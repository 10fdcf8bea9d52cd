"""Opening seals: what only a process that holds the archive's private keys can do."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from sqlalchemy import select
from sqlmodel import Session

from ca.errors import KeyUnavailable
from ca.keys import KeyStore
from foundation.tables import table_of
from pkcs_import.records import ArchivedKey, ArchiveKey
from pkcs_import.sealing import ArchivePrivateKey, ArchivePublicKey, Binding, SealedKey, rewrap, unseal

_KEY = table_of(ArchivedKey)
_ARCHIVE_KEY = table_of(ArchiveKey)


@dataclass(frozen=True, slots=True)
class SealedRecord:
    """A sealed private key with the record it stands in, and the archive key it is sealed to: its name and what it must be."""

    id: int
    binding: Binding
    sealed: SealedKey
    reference: str
    archive_key_id: str


def sealed_records(session: Session, key_ids: Collection[int]) -> dict[int, SealedRecord]:
    """Return the archived keys of these ids, sealed as they are, by id."""
    query = (
        select(_KEY, _ARCHIVE_KEY.c.reference, _ARCHIVE_KEY.c.key_id)
        .join(_ARCHIVE_KEY, _ARCHIVE_KEY.c.id == _KEY.c.archive_key_id)
        .where(_KEY.c.id.in_(list(key_ids)))
    )
    return {
        row.id: SealedRecord(
            id=row.id,
            binding=Binding(row.uid, row.person_id, row.spki_sha256),
            sealed=SealedKey(row.archive_key_id, bytes(row.wrapped_key), bytes(row.nonce), bytes(row.ciphertext)),
            reference=row.reference,
            archive_key_id=row.key_id,
        )
        for row in session.execute(query)
    }


class Opener:
    """Opens seals with the archive keys of ``keystores``, each loaded when it is first needed, from the first that has it."""

    def __init__(self, keystores: Sequence[KeyStore]) -> None:
        self._keystores = keystores
        self._keys: dict[tuple[str, str], ArchivePrivateKey] = {}

    def open(self, record: SealedRecord) -> bytes:
        """Return the private key (PKCS #8 DER) of a record.

        Raises:
            SealBroken: it does not open under what it is bound to.
            KeyUnavailable: the archive key is not there, or is another one.
        """
        return unseal(self._key(record.reference, record.archive_key_id), record.sealed, record.binding)

    def rewrap(self, record: SealedRecord, to: ArchivePublicKey) -> SealedKey:
        """Return a record's seal, wrapped to another archive key; the private key stays sealed. Raises as ``open``."""
        return rewrap(self._key(record.reference, record.archive_key_id), record.sealed, to)

    def require(self, reference: str, key_id: str) -> None:
        """Return if an archive key is there, and is the one of this ``key_id``. Raises KeyUnavailable."""
        self._key(reference, key_id)

    def close(self) -> None:
        """Let go of the keys."""
        self._keys.clear()
        for keystore in self._keystores:
            keystore.close()

    def _key(self, reference: str, key_id: str) -> ArchivePrivateKey:
        # By both: what the database says that a name stands for may change.
        if (reference, key_id) not in self._keys:
            self._keys[reference, key_id] = self._load(reference, key_id)
        return self._keys[reference, key_id]

    def _load(self, reference: str, key_id: str) -> ArchivePrivateKey:
        found = [keystore for keystore in self._keystores if keystore.exists(reference)]
        if not found:
            raise KeyUnavailable(f"there is no key {reference!r}")
        key = found[0].load(reference)
        if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
            raise KeyUnavailable(f"the key {reference!r} is of a kind that seals nothing")
        spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        if hashlib.sha256(spki).hexdigest() != key_id:
            raise KeyUnavailable(f"the key {reference!r} is not the one that the archive knows by this name")
        return key
