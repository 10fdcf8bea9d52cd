"""What the parameters and bodies of several resources are made of."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from ca.profiles import BUILT_IN, DEVICE_PROFILES, PERSON_PROFILES
from signetry.administration.revocation import REASONS

# RFC 3339 section 5.6. Pydantic would take numbers too, for seconds since 1970.
_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)


def _date_time(value: object) -> object:
    if isinstance(value, str) and not _DATE_TIME.fullmatch(value):
        raise PydanticCustomError("moment", "is no date and time with a time zone, such as 2026-05-31T14:00:00Z")
    if not isinstance(value, (str, datetime)):
        raise PydanticCustomError("moment", "is no text")
    return value


def _in_utc(moment: datetime) -> datetime:
    """Return ``moment`` in UTC; on the first and the last day that there is, some zones have none."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("moment", "lies outside of the years 1 to 9999 in UTC") from None


# A point in time with its zone.
Moment = Annotated[AwareDatetime, BeforeValidator(_date_time), AfterValidator(_in_utc)]

_PROFILES = (*map(str, PERSON_PROFILES), *map(str, DEVICE_PROFILES))
_REASONS = tuple(map(str, REASONS))


def _known(value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise PydanticCustomError("known", "is one of {known}", {"known": ", ".join(known)})
    return value


# A certificate profile that is had by enrolment.
Profile = Annotated[
    str,
    AfterValidator(lambda value: _known(value, _PROFILES)),
    WithJsonSchema({"type": "string", "enum": list(_PROFILES), "title": "Profile"}),
]
# Any certificate profile, those of the service's own certificates among them.
AnyProfile = Annotated[
    str,
    AfterValidator(lambda value: _known(value, tuple(BUILT_IN))),
    WithJsonSchema({"type": "string", "enum": list(BUILT_IN), "title": "Profile"}),
]
# A reason to revoke, by its name in RFC 5280.
Reason = Annotated[
    str,
    AfterValidator(lambda value: _known(value, _REASONS)),
    WithJsonSchema({"type": "string", "enum": list(_REASONS), "title": "Reason"}),
]

NAME = r"^[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?$"
_SERIAL = r"^(?:(?:0[xX])?[0-9A-Fa-f]{1,40}|[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){0,19})$"
# No control characters.
TEXT = r"^[^\u0000-\u001f\u007f-\u009f]*$"
# Something on each side of one @.
ADDRESS = r"^[^@\u0000-\u0020\u007f]+@[^@\u0000-\u0020\u007f]+$"

PersonName = Annotated[
    str,
    Path(
        min_length=1,
        max_length=320,
        description="A UPN, a mail address, or the person's number.",
        openapi_examples={"upn": {"value": "taro@corp.example.com"}},
    ),
]
DeviceName = Annotated[
    str,
    Path(
        min_length=1,
        max_length=100,
        description="The device's name or number. One whose name holds a slash is addressed by its number.",
        openapi_examples={"name": {"value": "taro-iphone"}},
    ),
]
GroupName = Annotated[
    str,
    Path(
        min_length=1,
        max_length=100,
        description="The group's name or number. One whose name holds a slash is addressed by its number.",
        openapi_examples={"name": {"value": "phones"}},
    ),
]
AuthorityName = Annotated[
    str,
    Path(
        min_length=1,
        max_length=60,
        pattern=NAME,
        description="The authority's name.",
        openapi_examples={"issuing": {"value": "issuing"}},
    ),
]
EndpointName = Annotated[
    str,
    Path(
        min_length=1,
        max_length=60,
        pattern=NAME,
        description="The endpoint's name.",
        openapi_examples={"default": {"value": "default"}},
    ),
]
SerialNumber = Annotated[
    str,
    Path(
        min_length=1,
        max_length=100,
        pattern=_SERIAL,
        description="The serial number in hexadecimal, with or without colons.",
        openapi_examples={"hexadecimal": {"value": "4f02a3c1d5e6f708192a3b4c5d6e7f80"}},
    ),
]

# What a list says that can be asked for what belongs to somebody.
ASKS_FOR_SOMEBODY: dict[int | str, dict[str, Any]] = {404: {"$ref": "#/components/responses/not-found"}}
OfPerson = Annotated[
    str | None, Query(min_length=1, max_length=320, description="Only those of this person: UPN, mail address or number.")
]
OfDevice = Annotated[str | None, Query(min_length=1, max_length=100, description="Only those of this device: name or number.")]
Searched = Annotated[str | None, Query(max_length=320)]
OnlyActive = Annotated[bool | None, Query(description="Only active ones, or only inactive ones.")]
DryRun = Annotated[bool, Query(description="Only say what would happen.")]

Serial = Annotated[
    str, Field(min_length=1, max_length=100, pattern=_SERIAL, description="In hexadecimal, with or without colons.")
]

# What an administrator names a person or a device by, in a body.
Who = Annotated[str, Field(min_length=1, max_length=320, description="A UPN, a mail address, or the person's number.")]
Which = Annotated[str, Field(min_length=1, max_length=100, description="The device's name or number.")]
