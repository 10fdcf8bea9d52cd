"""Certificates for tests of the API: issued without an enrolment."""

from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from sqlmodel import Session

from ca.authorisation import Authorisation, DeviceId, PersonId, ProfileName, SubjectNames
from ca.issuance import build, record
from ca.profiles import profile_named
from people.devices import DeviceFields, add_device, find_device
from people.persons import person_named
from tests.signetry.api.conftest import Api

# One key for all: nothing here looks at it.
_KEY = ec.generate_private_key(ec.SECP256R1()).public_key()


def issue(api: Api, upn: str, profile: str = "identity", *, device: str = "", validity: timedelta | None = None) -> str:
    """Issue a certificate to a recorded person, on a device that is recorded where it is not yet; return its serial number."""
    house = api.house
    now = house.clock.now()
    authority = house.authority("issuing")

    def act(session: Session) -> str:
        person = person_named(session, upn)
        carried = find_device(session, device) if device else None
        if device and carried is None:
            carried = add_device(session, DeviceFields(name=device, owner=upn), actor=house.actor, now=now)
        names = SubjectNames(display_name=person.display_name, upn=person.upn, emails=(person.email,))
        built = build(authority, profile_named(profile), names, _KEY, now=now, validity=validity)
        holder = DeviceId(carried.id) if carried else None
        authorisation = Authorisation(ProfileName(profile), names, "one-time challenge 17", PersonId(person.id), holder)
        record(session, built, authority=authority, authorisation=authorisation, actor=house.actor, now=now)
        return built.serial

    return house.transactions.write(act)
