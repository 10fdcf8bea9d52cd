"""One-time challenges: minted for one person or device, redeemed once, inside the issuing transaction.

A challenge is 160 random bits, so the table keeps a plain digest and a look-up by that digest gives nothing away: guessing is out
of reach, and there is no limit on attempts that could lock out somebody who holds a valid one.

Source: RFC 8894 section 2.3 (challengePassword); CERT VU#971035 (a challenge must not obtain another's names).
"""

import base64
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, func, insert, select, update
from sqlmodel import Session

from audit import log
from audit.log import Actor, Event
from ca.authorisation import DeviceId, PersonId, ProfileName
from foundation.errors import BadRequest
from foundation.statements import Prepared
from foundation.tables import table_of
from scep.errors import ChallengeRefused
from scep.records import Challenge

MAX_COUNT = 10_000
MAX_LIFETIME = timedelta(days=90)
_RANDOM_BYTES = 20

_CHALLENGE = table_of(Challenge)
_FIND = Prepared(
    select(_CHALLENGE).where(
        _CHALLENGE.c.digest == bindparam("presented"),
        _CHALLENGE.c.endpoint == bindparam("at_endpoint"),
    )
)
_REDEEM = Prepared(
    update(_CHALLENGE)
    .where(
        _CHALLENGE.c.id == bindparam("challenge"),
        _CHALLENGE.c.redeemed_at.is_(None),
        _CHALLENGE.c.expires_at > bindparam("redeemed_at"),
    )
    .values(redeemed_at=bindparam("redeemed_at"), certificate_id=bindparam("certificate_id"))
)


@dataclass(frozen=True, slots=True)
class ChallengeOrder:
    """What challenges to mint: for whom, where they may be used, as which profile, until when."""

    endpoint: str
    profile: ProfileName
    person: PersonId | None
    device: DeviceId | None
    count: int = 1
    lifetime: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class KnownChallenge:
    """A challenge of ours that a request presented; ``live`` while it is neither redeemed nor expired.

    ``redeemed_for`` is the certificate (its id) that a spent one obtained.
    """

    id: int
    live: bool
    profile: ProfileName
    person: PersonId | None
    device: DeviceId | None
    redeemed_for: int | None


def digest(challenge: str) -> str:
    """Return the SHA-256 of a challenge, in hex, as the table keeps it."""
    return hashlib.sha256(challenge.encode()).hexdigest()


def in_base32() -> str:
    """Return 160 random bits in 32 letters and digits, which every PrintableString and every URL carries unescaped."""
    return base64.b32encode(secrets.token_bytes(_RANDOM_BYTES)).decode()


def mint(
    session: Session, order: ChallengeOrder, *, actor: Actor, now: datetime, make: Callable[[], str] = in_base32
) -> tuple[str, ...]:
    """Create ``order.count`` challenges and return them in the clear, for the only time; ``make`` returns a random one.

    Raises:
        BadRequest: the count or the lifetime is out of bounds, or the order names neither a person nor a device.
    """
    if not 1 <= order.count <= MAX_COUNT:
        raise BadRequest(f"between 1 and {MAX_COUNT} challenges can be minted at once, not {order.count}")
    if not timedelta(0) < order.lifetime <= MAX_LIFETIME:
        raise BadRequest(f"a challenge lives up to {MAX_LIFETIME.days} days")
    if order.person is None and order.device is None:
        raise BadRequest("a challenge is bound to a person, a device or both")
    minted = tuple(make() for _ in range(order.count))
    session.execute(
        insert(_CHALLENGE),
        [
            {
                "digest": digest(challenge),
                "endpoint": order.endpoint,
                "person_id": order.person,
                "device_id": order.device,
                "profile": order.profile,
                "created_at": now,
                "expires_at": now + order.lifetime,
            }
            for challenge in minted
        ],
    )
    details = {
        "endpoint": order.endpoint,
        "profile": order.profile,
        "person": order.person,
        "device": order.device,
        "count": order.count,
        "expires_at": (now + order.lifetime).isoformat(),
    }
    subject = f"person:{order.person}" if order.person is not None else f"device:{order.device}"
    log.record(session, Event(actor, "challenge.minted", subject, details=details), now=now)
    return minted


def unused(session: Session, order: ChallengeOrder, *, now: datetime) -> int:
    """Return how many live challenges there are for whom, and where, ``order`` would mint another."""
    columns = _CHALLENGE.c
    query = select(func.count()).where(
        columns.endpoint == order.endpoint,
        columns.redeemed_at.is_(None),
        columns.expires_at > now,
        # Either has an index; of a person with several devices each device counts for itself.
        columns.person_id == order.person if order.device is None else columns.device_id == order.device,
    )
    return int(session.execute(query).scalar_one())


def find(session: Session, presented: str, *, endpoint: str, now: datetime) -> KnownChallenge | None:
    """Return the challenge of ``endpoint`` that has the digest ``presented``, live or spent; None when there is none."""
    row = _FIND.row(session, {"presented": presented, "at_endpoint": endpoint})
    if row is None:
        return None
    return KnownChallenge(
        id=row.id,
        live=row.redeemed_at is None and row.expires_at > now,
        profile=ProfileName(row.profile),
        person=row.person_id,
        device=row.device_id,
        redeemed_for=row.certificate_id,
    )


def redeem(session: Session, challenge_id: int, *, certificate_id: int, now: datetime) -> None:
    """Spend a live challenge on the certificate stored in this same transaction.

    Raises:
        ChallengeRefused: somebody else redeemed it first, or it expired meanwhile; the transaction must not be committed.
    """
    spent = _REDEEM.run(session, {"challenge": challenge_id, "redeemed_at": now, "certificate_id": certificate_id})
    if spent != 1:
        raise ChallengeRefused
