"""From our records to the names a subject may be certified under."""

from uuid import UUID

from sqlmodel import Session

from ca.authorisation import DeviceId, PersonId, SubjectNames
from ca.names import RequestedNames, addresses_within
from people.activity import Inactive
from people.devices import DeviceRecord, find_device_for_enrolment
from people.person import PersonRecord
from people.persons import find_person_for_enrolment
from scep.endpoint import Endpoint
from scep.errors import RenewalRefused


def todays_names(session: Session, person_id: PersonId | None, device_id: DeviceId | None) -> SubjectNames:
    """Return the names on record now, of a person, a device or both.

    Raises:
        Inactive: the person or the device has been deactivated.
        RenewalRefused: neither is given.
    """
    if person_id is None and device_id is None:
        raise RenewalRefused("no person and no device on record stands behind the certificate; enrol anew with a challenge")
    person = find_person_for_enrolment(session, person_id) if person_id is not None else None
    device = find_device_for_enrolment(session, device_id) if device_id is not None else None
    if person_id is not None and not (person and person.active):
        raise Inactive("the person is not active")
    if device_id is not None and not (device and device.active):
        raise Inactive("the device is not active")
    return names_of(person, device)


def names_of(person: PersonRecord | None, device: DeviceRecord | None) -> SubjectNames:
    """Return every name that the records of ``person`` and ``device`` vouch for; a profile picks from them."""
    return SubjectNames(
        display_name=person.display_name if person else "",
        given_name=person.given_name if person else "",
        surname=person.surname if person else "",
        upn=person.upn if person else "",
        emails=(person.email, *person.aliases) if person else (),
        sid=(person.sid or "") if person else "",
        device_name=device.name if device else "",
        dns_names=(device.dns_name,) if device and device.dns_name else (),
        uris=_uris(device),
    )


def _uris(device: DeviceRecord | None) -> tuple[str, ...]:
    # An MDM that numbers its devices with UUIDs (Intune, Jamf) gives each a URI (RFC 9562 section 4); other numbers are no names.
    if device is None or not device.mdm_id:
        return ()
    try:
        return (UUID(device.mdm_id).urn,)
    except ValueError:
        return ()


def units_of(requested: RequestedNames, endpoint: Endpoint) -> tuple[str, ...]:
    """Return the organisational units that an endpoint takes from a request.

    Whatever reads a subject up to its first NUL or line break would read something else than was requested: those are left out.
    So is a unit with an address in it, which might be anybody's.
    """
    if "OU" not in endpoint.subject_from_request:
        return ()
    return tuple(unit for unit in requested.organisational_units if unit.isprintable() and not addresses_within(unit))
