"""Minting one-time challenges for a person, a device or both."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlmodel import Session

from ca.authorisation import DeviceId, PersonId, ProfileName
from ca.profiles import DEVICE_PROFILES
from foundation.errors import BadRequest, RefusedByPolicy
from people.activity import require_active
from people.devices import device_named
from people.persons import person_named
from scep import challenge
from signetry.administration.reach import EVERYTHING, Reach
from signetry.house import House


class HolderMissing(BadRequest):
    """A profile needs a person (``field`` is ``upn``) or a device (``device``) that the request does not name."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


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


def mint(session: Session, house: House, request: ChallengeRequest, reach: Reach = EVERYTHING) -> Minted:
    """Mint the challenges in the session's transaction.

    Raises:
        UnknownEndpoint, UnknownPerson, UnknownDevice: there is none, or it is beyond ``reach``.
        RefusedByPolicy: the endpoint does not issue the profile, the device is somebody else's, or one of them is not active.
        HolderMissing: the profile needs a person or a device that is not named.
        BadRequest: the count or the lifetime is out of bounds.
    """
    endpoint, profile = reach.endpoint(house, request.endpoint), request.profile
    issued = [name for name in sorted(endpoint.profiles) if reach.includes_profile(name)]
    if profile not in issued:
        raise RefusedByPolicy(f"endpoint {endpoint.name} issues {', '.join(issued)}, not {profile}")
    carried = device_named(session, request.device, within=reach.group) if request.device else None
    person = person_named(session, request.person, within=reach.group) if request.person else None
    if person is None and profile not in DEVICE_PROFILES:
        raise HolderMissing("upn", f"a certificate of profile {profile} is a person's: say whose")
    if carried is None and profile in DEVICE_PROFILES:
        raise HolderMissing("device", f"a certificate of profile {profile} is a device's: say which")
    if person and carried and carried.owner_id not in (None, person.id):
        raise RefusedByPolicy(f"device {carried.name} belongs to {carried.owner}, not to {person.upn}")
    # Minting for somebody who could not redeem it would only postpone the refusal to the phone.
    require_active(session, person=person.id if person else None, device=carried.id if carried else None)
    order = challenge.ChallengeOrder(
        endpoint=endpoint.name,
        profile=ProfileName(profile),
        person=PersonId(person.id) if person else None,
        device=DeviceId(carried.id) if carried else None,
        count=request.count,
        lifetime=request.lifetime,
    )
    now = house.clock.now()
    return Minted(
        challenges=challenge.mint(session, order, actor=house.actor, now=now),
        endpoint=endpoint.name,
        profile=profile,
        person=person.upn if person else None,
        device=carried.name if carried else None,
        expires_at=now + request.lifetime,
    )
