"""From our records to the names a subject may be certified under."""

from uuid import UUID

from ca.authorisation import SubjectNames
from people.devices import DeviceRecord
from people.person import PersonRecord


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
