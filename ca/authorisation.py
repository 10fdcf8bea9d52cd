"""The Authorisation: the only source of the names in a certificate (design.md section 5).

Whoever lets a request in (a challenge policy, a renewal, an administrator) builds one; issuance takes every name from it and
holds the request's own wishes against it.
"""

from dataclasses import dataclass, field
from typing import NewType

PersonId = NewType("PersonId", int)
DeviceId = NewType("DeviceId", int)
ProfileName = NewType("ProfileName", str)
CaName = NewType("CaName", str)


@dataclass(frozen=True, slots=True)
class SubjectNames:
    """The names a subject may be certified under, already validated and normalised; a profile picks from them.

    ``emails`` holds the primary SMTP address first, then the aliases. Domains are A-labels; a local part may be non-ASCII
    (RFC 9598). Empty strings and tuples stand for what the subject does not have.
    """

    display_name: str = ""
    given_name: str = ""
    surname: str = ""
    upn: str = ""
    emails: tuple[str, ...] = ()
    sid: str = ""
    device_name: str = ""
    dns_names: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Authorisation:
    """Who may be certified, as what, under which names.

    ``granted_by`` says in the audit record what let the request in (``one-time challenge 17``, ``renewal of 4f02…``).
    """

    profile: ProfileName
    names: SubjectNames
    granted_by: str
    person: PersonId | None = None
    device: DeviceId | None = None
    # Organisational units taken from the request, where the endpoint allows that (subject_from_request = ["OU"]).
    organisational_units: tuple[str, ...] = field(default=())
    # The number of the certificate whose place the new one takes, where that is known.
    renews: int | None = None
