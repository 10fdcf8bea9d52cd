"""Minting one-time challenges for a person, a device or both."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlmodel import Session

from ca.authorisation import ProfileName
from foundation.errors import RefusedByPolicy
from scep import challenge
from signetry.administration.holders import holder
from signetry.administration.reach import EVERYTHING, Reach
from signetry.house import House


@dataclass(frozen=True, slots=True)
class ChallengeRequest:
    """What is wanted: ``person`` and ``device`` as an administrator names them, empty for none; ``count`` of them."""

    endpoint: str
    profile: str
    person: str = ""
    device: str = ""
    count: int = 1
    lifetime: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Minted:
    """Challenges in the clear, for the only time, and what they are good for."""

    challenges: tuple[str, ...] = field(repr=False)
    endpoint: str
    profile: str
    person: str | None
    device: str | None
    expires_at: datetime


class TooManyUnused(RefusedByPolicy):
    """Whoever it is for has as many unused challenges already as they may have."""


@dataclass(frozen=True, slots=True)
class Form:
    """How challenges look, by ``make``, which returns a random one, and how many unused ones their holder may have."""

    make: Callable[[], str] = challenge.in_base32
    unused_at_most: int | None = None


_USUAL = Form()


def mint(session: Session, house: House, request: ChallengeRequest, reach: Reach = EVERYTHING, form: Form = _USUAL) -> Minted:
    """Mint the challenges in the session's transaction.

    Raises:
        TooManyUnused: there would be more than ``form`` allows.
        UnknownEndpoint, UnknownPerson, UnknownDevice: there is none, or it is beyond ``reach``.
        RefusedByPolicy: the endpoint takes no minted challenges, and as ``holders.holder``.
        HolderMissing: as ``holders.holder``.
        BadRequest: the count or the lifetime is out of bounds.
    """
    endpoint, profile = reach.endpoint(house, request.endpoint), request.profile
    if not endpoint.challenge.is_minted:
        raise RefusedByPolicy(f"endpoint {endpoint.name} takes no minted challenges: its policy is {endpoint.challenge}")
    whose = holder(session, endpoint, profile, request.person, request.device, reach)
    order = challenge.ChallengeOrder(
        endpoint=endpoint.name,
        profile=ProfileName(profile),
        person=whose.person_id,
        device=whose.device_id,
        count=request.count,
        lifetime=request.lifetime,
    )
    now = house.clock.now()
    if form.unused_at_most is not None and challenge.unused(session, order, now=now) + request.count > form.unused_at_most:
        raise TooManyUnused(f"there are {form.unused_at_most} unused challenges already; use them, or wait until they expire")
    return Minted(
        challenges=challenge.mint(session, order, actor=house.actor, now=now, make=form.make),
        endpoint=endpoint.name,
        profile=profile,
        person=whose.person.upn if whose.person else None,
        device=whose.device.name if whose.device else None,
        expires_at=now + request.lifetime,
    )
