"""What a departure means for certificates: every one that speaks for the person or their devices is revoked with it."""

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlmodel import Session

from ca.records import Certificate
from ca.revocation import RevocationListener, RevocationReason, revoke
from foundation.tables import table_of
from people.offboarding import Departure

_CERTIFICATE = table_of(Certificate)


def revoke_certificates(session: Session, departure: Departure, listeners: Sequence[RevocationListener]) -> list[str]:
    """Revoke what is still good or on hold, as ``affiliationChanged``, in the session's transaction; return the serials."""
    devices = [device.id for device in departure.devices]
    theirs = select(_CERTIFICATE.c.id).where(
        or_(_CERTIFICATE.c.person_id == departure.person.id, _CERTIFICATE.c.device_id.in_(devices)),
        or_(
            _CERTIFICATE.c.revoked_at.is_(None),
            _CERTIFICATE.c.revocation_reason == str(RevocationReason.CERTIFICATE_HOLD),
        ),
        _CERTIFICATE.c.not_after > departure.at,
    )
    revoked = revoke(
        session,
        session.scalars(theirs).all(),
        RevocationReason.AFFILIATION_CHANGED,
        actor=departure.actor,
        now=departure.at,
        listeners=listeners,
    )
    return [certificate.serial for certificate in revoked]
