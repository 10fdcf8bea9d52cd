"""Certificates that nobody came back for: committed, never handed out, and revoked when their time is over.

A policy that tells somebody of a certificate before it is released (``scep.policy.RemotePolicy.withholds``) may fail to, for
good: the phone gave up, or the other side does not want it. Nobody holds such a certificate, and nobody is to trust it either.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlmodel import Session

from ca.records import Certificate
from ca.revocation import RevocationReason
from foundation.clock import Clock
from foundation.tables import table_of
from foundation.transactions import Transactions
from scep.records import Enrolment

# How many certificates share a transaction.
BATCH = 100

_ENROLMENT = table_of(Enrolment)
_CERTIFICATE = table_of(Certificate)

# Revokes certificates by their ids, with all that a revocation entails, in the session's transaction.
Revoke = Callable[[Session, Sequence[int]], object]


def next_due(session: Session) -> datetime | None:
    """Return when the next certificate has been withheld for long enough; None while none is withheld."""
    query = select(_ENROLMENT.c.withheld_until).where(_ENROLMENT.c.withheld_until.is_not(None))
    moment: datetime | None = session.execute(query.order_by(_ENROLMENT.c.withheld_until).limit(1)).scalar_one_or_none()
    return moment


def certificate_ids(session: Session) -> frozenset[int]:
    """Return the ids of all certificates that are withheld: nobody holds them, so nobody is to be told of them."""
    query = select(_ENROLMENT.c.certificate_id).where(_ENROLMENT.c.withheld_until.is_not(None))
    return frozenset(session.execute(query).scalars())


def is_withheld(session: Session, certificate_id: int) -> bool:
    """Say whether the certificate of this id is."""
    query = select(_ENROLMENT.c.id).where(_ENROLMENT.c.certificate_id == certificate_id, _ENROLMENT.c.withheld_until.is_not(None))
    return session.execute(query).first() is not None


def revoke_overdue(transactions: Transactions, clock: Clock, revoke: Revoke, *, limit: int = BATCH) -> int:
    """Revoke certificates that have been withheld until now, up to ``limit`` of them; return how many rows were worked off.

    One that is being released at this moment is left alone, and one that somebody has finally revoked already stays as it is.
    """

    def act(session: Session) -> int:
        overdue = (
            select(_ENROLMENT.c.id, _ENROLMENT.c.certificate_id)
            .where(_ENROLMENT.c.withheld_until <= clock.now())
            .order_by(_ENROLMENT.c.withheld_until)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        rows = session.execute(overdue).all()
        if not rows:
            return 0
        still_good = _CERTIFICATE.c.revoked_at.is_(None) | (_CERTIFICATE.c.revocation_reason == RevocationReason.CERTIFICATE_HOLD)
        mine = _CERTIFICATE.c.id.in_([row.certificate_id for row in rows])
        revoke(session, session.execute(select(_CERTIFICATE.c.id).where(mine, still_good)).scalars().all())
        # From here on its being revoked keeps it from being handed out (``scep.register.kept``).
        worked_off = _ENROLMENT.c.id.in_([row.id for row in rows])
        session.execute(update(_ENROLMENT).where(worked_off).values(withheld_until=None))
        return len(rows)

    return transactions.write(act)
