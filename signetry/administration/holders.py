"""For whom a certificate is to be: the person and the device that an administrator names, held against the profile."""

from dataclasses import dataclass

from sqlmodel import Session

from ca.authorisation import DeviceId, PersonId
from ca.profiles import DEVICE_PROFILES
from foundation.errors import BadRequest, RefusedByPolicy
from people.activity import require_active
from people.devices import DeviceRecord, device_named
from people.person import PersonRecord
from people.persons import person_named
from scep.endpoint import Endpoint
from signetry.administration.reach import EVERYTHING, Reach


class HolderMissing(BadRequest):
    """A profile needs a person (``field`` is ``upn``) or a device (``device``) that is not named."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Holder:
    """A person, a device or both, as recorded."""

    person: PersonRecord | None
    device: DeviceRecord | None

    @property
    def person_id(self) -> PersonId | None:
        """The person's number."""
        return PersonId(self.person.id) if self.person else None

    @property
    def device_id(self) -> DeviceId | None:
        """The device's number."""
        return DeviceId(self.device.id) if self.device else None


def holder(session: Session, endpoint: Endpoint, profile: str, person: str, device: str, reach: Reach = EVERYTHING) -> Holder:
    """Return who may have a certificate of ``profile`` at ``endpoint``, by the names that an administrator gives them.

    Raises:
        UnknownPerson, UnknownDevice: there is none, or it is beyond ``reach``.
        RefusedByPolicy: the endpoint does not issue the profile, the device is somebody else's, or one of them is not active.
        HolderMissing: the profile needs a person or a device that is not named.
    """
    issued = [name for name in sorted(endpoint.profiles) if reach.includes_profile(name)]
    if profile not in issued:
        raise RefusedByPolicy(f"endpoint {endpoint.name} issues {', '.join(issued)}, not {profile}")
    carried = device_named(session, device, within=reach.group) if device else None
    named = person_named(session, person, within=reach.group) if person else None
    if named is None and profile not in DEVICE_PROFILES:
        raise HolderMissing("upn", f"a certificate of profile {profile} is a person's: say whose")
    if carried is None and profile in DEVICE_PROFILES:
        raise HolderMissing("device", f"a certificate of profile {profile} is a device's: say which")
    if named and carried and carried.owner_id not in (None, named.id):
        raise RefusedByPolicy(f"device {carried.name} belongs to {carried.owner}, not to {named.upn}")
    # What is promised to somebody who cannot have it would only postpone the refusal to the phone.
    require_active(session, person=named.id if named else None, device=carried.id if carried else None)
    return Holder(named, carried)
