"""How many certificates a person may have within a day, counted in the database, and only where an endpoint has such a limit."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, select
from sqlmodel import Session

from ca.authorisation import Authorisation
from ca.records import Certificate
from foundation.tables import table_of
from people.activity import hold_person
from scep.endpoint import Endpoint
from scep.errors import LimitReached
from scep.records import Enrolment

_DAY: Final = timedelta(days=1)
_CERTIFICATE = table_of(Certificate)
_ENROLMENT = table_of(Enrolment)
_ISSUED = (
    select(_CERTIFICATE.c.issued_at)
    .join(_ENROLMENT, _ENROLMENT.c.certificate_id == _CERTIFICATE.c.id)
    .where(_CERTIFICATE.c.issued_at > bindparam("since"), _ENROLMENT.c.endpoint == bindparam("at_endpoint"))
    .order_by(_CERTIFICATE.c.issued_at.desc())
    .limit(bindparam("at_most"))
)
_ISSUED_TO_PERSON = _ISSUED.where(_CERTIFICATE.c.person_id == bindparam("holder"))
_ISSUED_TO_DEVICE = _ISSUED.where(_CERTIFICATE.c.device_id == bindparam("holder"), _CERTIFICATE.c.person_id.is_(None))


def require_left(
    session: Session, endpoint: Endpoint, authorisation: Authorisation, *, now: datetime, hold: bool = False
) -> None:
    """Return if whoever is authorised may have another certificate of an endpoint within this day.

    Renewals count. An identical retry does not: it gets a certificate that was counted already. With ``hold`` nobody else gets
    one for the same person before this transaction ends.

    Raises:
        LimitReached: the message says when the next one may be had.
    """
    per_day = endpoint.limits.certificates_per_day
    if not per_day:
        return
    person = authorisation.person
    if person is not None and hold:
        hold_person(session, person)
    values = {
        "since": now - _DAY,
        "at_endpoint": endpoint.name,
        "at_most": per_day,
        "holder": authorisation.device if person is None else person,
    }
    issued = session.execute(_ISSUED_TO_DEVICE if person is None else _ISSUED_TO_PERSON, values).scalars().all()
    if len(issued) >= per_day:
        # To the minute, and not before it has passed.
        opens = issued[-1] + _DAY + timedelta(minutes=1)
        raise LimitReached(f"no more than {per_day} certificates a day are issued here; the next from {opens:%Y-%m-%d %H:%M} UTC")
