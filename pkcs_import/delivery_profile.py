"""Deliveries as payloads of an Apple configuration profile: a ``com.apple.security.pkcs12`` for each key, the current one first.

The mail profile that holds them names the current one's UUID as ``SMIMEEncryptionCertificateUUID``; the others are there for
old mail. Source: facts/mail_profiles.md section 1.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid5

from ca.authorisation import PersonId
from pkcs_import.archive import Delivered, DeliveryOrder
from pkcs_import.delivery import Method
from pkcs_import.delivery_targets import Target, encoding_for

PAYLOAD_TYPE: Final = "com.apple.security.pkcs12"
# Of this kind of payload: with a certificate's digest it makes the same UUID each time, so that a new profile replaces the old.
_NAMESPACE: Final = UUID("6f6c1d0e-6a5e-4c3b-9a55-0d8c3a3f7f0b")


@dataclass(frozen=True, slots=True)
class ProfilePayload:
    """One key as a payload: the PKCS #12 of exactly one identity, and the passphrase that the profile carries with it."""

    uuid: UUID
    file_name: str
    certificate: str
    pkcs12: bytes = field(repr=False)
    passphrase: str = field(repr=False)

    def document(self, identifier: str) -> dict[str, Any]:
        """Return the payload's dictionary for ``plistlib``, under the ``identifier`` of its profile."""
        return {
            "PayloadType": PAYLOAD_TYPE,
            "PayloadVersion": 1,
            "PayloadIdentifier": f"{identifier}.{self.uuid}",
            "PayloadUUID": str(self.uuid).upper(),
            "PayloadDisplayName": self.file_name,
            "PayloadCertificateFileName": self.file_name,
            "PayloadContent": self.pkcs12,
            "Password": self.passphrase,
        }


@dataclass(frozen=True, slots=True)
class ProfileDelivery:
    """The payloads of a delivery. Whoever hands the profile over says so (``pkcs_import.delivery.hand``)."""

    delivery_id: int
    payloads: tuple[ProfilePayload, ...]


def profile_payloads(
    deliver: Callable[[DeliveryOrder], Delivered],
    person: PersonId,
    device: int,
    *,
    ordered_by: str,
    expires_at: datetime,
) -> ProfileDelivery:
    """Have all encryption keys of a person packed for a device of theirs, each as a payload.

    Args:
        deliver: asks the archive process.
        person: whose keys.
        device: where the profile goes.
        ordered_by: the actor's name, for the record.
        expires_at: until when the profile is handed over.

    Raises:
        DeliveryRefused: person or device may get nothing, or there is nothing.
        ArchiveUnavailable: the archive process does not answer.
    """
    order = DeliveryOrder(
        person=person,
        device=device,
        method=Method.PROFILE,
        encoding=encoding_for(Target.APPLE),
        ordered_by=ordered_by,
        separate=True,
        expires_at=expires_at,
    )
    delivered = deliver(order)
    payloads = tuple(
        ProfilePayload(
            uuid=uuid5(_NAMESPACE, f"{device}:{file.certificate_sha256s[0]}"),
            file_name=file.name,
            certificate=file.certificate_sha256s[0],
            pkcs12=file.pkcs12,
            passphrase=delivered.passphrase or "",
        )
        for file in delivered.files
    )
    return ProfileDelivery(delivered.delivery_id, payloads)
