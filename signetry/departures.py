"""What a departure means for certificates and keys.

Every certificate that speaks for the person or their devices is revoked with it, and what waits to be delivered is stopped. The
key archive keeps what it has, for recovery: old mail outlasts who wrote it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlmodel import Session

from ca.authorisation import PersonId
from ca.records import Certificate
from ca.revocation import RevocationListener, RevocationReason, revoke
from foundation.tables import table_of
from ldap_publish.records import OwedEntry, SubjectKind
from people.offboarding import Departure
from pkcs_import import delivery_ends, encryption_certificates
from pkcs_import.delivery_ends import EndedListener
from pkcs_import.keeping import keys_of

_CERTIFICATE = table_of(Certificate)
_OWED = table_of(OwedEntry)


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


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """What a departure meant for the person's keys.

    Attributes:
        stopped: the deliveries that were stopped, by number.
        withdrawn: the serial numbers of certificates of other authorities that are published no more. Only those authorities can
            revoke them.
        kept: how many keys the archive keeps.
    """

    stopped: tuple[int, ...]
    withdrawn: tuple[str, ...]
    kept: int


def see_to_keys(session: Session, departure: Departure, listeners: Sequence[EndedListener]) -> LeftBehind:
    """Stop what waits to be delivered and withdraw what others certified, in the session's transaction; keep the archive."""
    person = PersonId(departure.person.id)
    stopped = delivery_ends.stop_all(session, person, actor=departure.actor, now=departure.at, listeners=listeners)
    withdrawn = encryption_certificates.withdraw(session, person, actor=departure.actor, now=departure.at)
    return LeftBehind(tuple(stopped), tuple(withdrawn), len(keys_of(session, person)))


def directories_owing(session: Session, departure: Departure) -> list[str]:
    """Return the names of the directories that are to look at the person's entry, in the session's transaction."""
    theirs = (_OWED.c.kind == str(SubjectKind.PERSON), _OWED.c.subject_id == departure.person.id)
    names = select(_OWED.c.directory).where(*theirs, _OWED.c.owed_since.is_not(None))
    return sorted(session.scalars(names))
