"""What is asked of the archive process, and what it answers: keys of a person for a device, or keys recovered under dual control.

The two operations are ``pkcs_import.unsealing``; who may have what is for ``pkcs_import.delivery`` and ``pkcs_import.recovery``.
"""

from dataclasses import dataclass, field
from datetime import datetime

from ca.authorisation import PersonId
from pkcs_import.packing import Encoding


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOrder:
    """Keys of a person, to be packed for one device of theirs.

    Attributes:
        person: whose keys.
        method: by which way it goes there: a value of ``pkcs_import.delivery.Method``.
        encoding: how the PKCS #12 are encrypted.
        ordered_by: the actor's name, for the record.
        device: for which device; None for Intune, which has its own.
        separate: a PKCS #12 for each key, instead of one for all.
        key_ids: only these of the keys the person may have; none of them named: all.
        token_digest: the SHA-256, in hex, of the link's token, where there is a link.
        expires_at: when what was not fetched is thrown away.
    """

    person: PersonId
    method: str
    encoding: Encoding
    ordered_by: str
    device: int | None = None
    separate: bool = False
    key_ids: tuple[int, ...] = ()
    token_digest: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PackedKey:
    """A PKCS #12: its file name, the archived keys in it (the current one first), and the certificates that go with them."""

    name: str
    pkcs12: bytes = field(repr=False)
    key_ids: tuple[int, ...]
    certificate_sha256s: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Delivered:
    """A delivery, recorded and packed. Its passphrase is kept nowhere: who loses it orders another delivery.

    For Intune there is no passphrase, but what it is under the connector's public key.
    """

    delivery_id: int
    files: tuple[PackedKey, ...]
    passphrase: str | None = field(repr=False)
    encrypted_passphrase: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery request came to, once: a PKCS #12 with every key of it, or one for each key, and their passphrase."""

    request_id: int
    person: PersonId
    files: tuple[PackedKey, ...]
    passphrase: str = field(repr=False)
