"""What is said of a person, as values: what comes in, the form in which it is stored, what comes out."""

from dataclasses import dataclass, fields
from datetime import datetime

from people.addresses import normalise_email, normalise_upn
from people.errors import InvalidField
from people.identifiers import (
    normalise_account_domain,
    normalise_account_name,
    normalise_language,
    normalise_sid,
    normalise_text,
)

# Each becomes a name in the certificate; beyond this, certificates outgrow what clients read.
MAX_ALIASES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonFields:
    """What an administrator says of a person. ``email`` is the primary SMTP address; ``sid`` that of the AD account."""

    upn: str
    email: str
    aliases: tuple[str, ...] = ()
    display_name: str = ""
    given_name: str = ""
    middle_name: str = ""
    surname: str = ""
    account_name: str = ""
    domain: str = ""
    employee_code: str = ""
    sid: str | None = None
    language: str = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRecord(PersonFields):
    """A person as recorded."""

    id: int
    active: bool
    created_at: datetime
    changed_at: datetime

    @property
    def fields(self) -> PersonFields:
        """What may be changed: hand a ``dataclasses.replace`` of it to ``change_person``."""
        return PersonFields(**{name: getattr(self, name) for name in FIELD_NAMES})


FIELD_NAMES = tuple(field.name for field in fields(PersonFields))


def normalise_person(given: PersonFields) -> PersonFields:
    """Return ``given`` with every field in its stored form. Aliases keep their order, without repetitions and the primary.

    Raises:
        InvalidField: the first field that breaks its rules.
    """
    email = normalise_email(given.email)
    if len(given.aliases) > MAX_ALIASES:
        raise InvalidField("aliases", f"are more than {MAX_ALIASES}")
    aliases = dict.fromkeys(normalise_email(alias, field="aliases") for alias in given.aliases)
    aliases.pop(email, None)
    return PersonFields(
        upn=normalise_upn(given.upn),
        email=email,
        aliases=tuple(aliases),
        display_name=normalise_text(given.display_name, field="name", maximum=200),
        given_name=normalise_text(given.given_name, field="given_name", maximum=100),
        middle_name=normalise_text(given.middle_name, field="middle_name", maximum=100),
        surname=normalise_text(given.surname, field="surname", maximum=100),
        account_name=normalise_account_name(given.account_name),
        domain=normalise_account_domain(given.domain) if given.domain else "",
        employee_code=normalise_text(given.employee_code, field="employee_code", maximum=100),
        sid=normalise_sid(given.sid) if given.sid else None,
        language=normalise_language(given.language),
    )


def changed_fields(current: PersonFields, wanted: PersonFields) -> tuple[str, ...]:
    """Return the names of the fields in which two normalised values differ; the order of aliases is no difference."""
    return tuple(
        name
        for name in FIELD_NAMES
        if (set(current.aliases) != set(wanted.aliases) if name == "aliases" else getattr(current, name) != getattr(wanted, name))
    )
