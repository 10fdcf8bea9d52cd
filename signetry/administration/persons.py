"""Changing what is recorded of a person, and seeing them off."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlmodel import Session

from people import offboarding
from people.addresses import normalise_email
from people.devices import DeviceRecord
from people.errors import UnknownAddress
from people.offboarding import Departure
from people.person import PersonRecord
from people.persons import change_person, person_named
from signetry.departures import LeftBehind, directories_owing, revoke_certificates, see_to_keys
from signetry.house import House


@dataclass(frozen=True, slots=True)
class Offboarded:
    """Who left, and what that meant.

    Attributes:
        person: who.
        devices: what was deactivated with them.
        revoked: the serial numbers of what was revoked.
        keys: what became of their keys.
        directories: those that are to look at their entry, by name.
    """

    person: PersonRecord
    devices: tuple[DeviceRecord, ...]
    revoked: tuple[str, ...]
    keys: LeftBehind
    directories: tuple[str, ...]


def change(
    session: Session,
    house: House,
    who: str,
    changes: Mapping[str, Any],
    *,
    added: Collection[str] = (),
    removed: Collection[str] = (),
) -> PersonRecord:
    """Change the fields that ``changes`` names, and add and remove aliases; the rest stays.

    Raises:
        UnknownPerson: nobody is ``who``.
        UnknownAddress: what is to be removed is none of their aliases.
        InvalidField, AlreadyTaken: as ``people.persons.change_person``.
    """
    person = person_named(session, who)
    unwanted = {normalise_email(alias, field="remove-alias") for alias in removed}
    for alias in unwanted.difference(person.aliases):
        raise UnknownAddress(f"{alias} is not an alias of {person.upn}")
    aliases = (*(alias for alias in person.aliases if alias not in unwanted), *added)
    wanted = replace(person.fields, **{"aliases": aliases, **changes})
    return change_person(session, person.id, wanted, actor=house.actor, now=house.clock.now(), listeners=house.person_listeners)


def offboard(session: Session, house: House, who: str) -> Offboarded:
    """Deactivate somebody and their devices, revoke every certificate of theirs, and stop deliveries. Raises UnknownPerson.

    The key archive keeps what it has.
    """
    revoked: list[str] = []

    def take_back(session: Session, departure: Departure) -> None:
        revoked.extend(revoke_certificates(session, departure, house.revocation_listeners))

    person = person_named(session, who)
    departure = offboarding.offboard(session, person.id, [take_back], actor=house.actor, now=house.clock.now())
    keys = see_to_keys(session, departure, house.ended_listeners)
    for listener in house.person_listeners:
        listener(session, departure.person)
    return Offboarded(departure.person, departure.devices, tuple(revoked), keys, tuple(directories_owing(session, departure)))
