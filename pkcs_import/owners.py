"""Whose a file is: of the person who is named, or of the one whose mail address or UPN is in the certificates."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from sqlmodel import Session

from people.addresses import normalise_email, normalise_upn
from people.errors import InvalidField, UnknownPerson
from people.person import PersonRecord
from people.persons import find_person, person_named
from pkcs_import.errors import NoSuchOwner, OwnerAmbiguous
from pkcs_import.workshop import FoundKey

_SHOWN = 5
_LONGEST_SHOWN = 100


def named_owner(session: Session, name: str) -> PersonRecord:
    """Return the person of a UPN, mail address or number. Raises NoSuchOwner."""
    try:
        return person_named(session, name)
    except (UnknownPerson, InvalidField) as error:
        raise NoSuchOwner(str(error)) from error


def owner_in(session: Session, keys: Sequence[FoundKey]) -> PersonRecord:
    """Return the person whose mail addresses the certificates hold; where none is anybody's, whose UPN.

    Raises:
        NoSuchOwner: nobody is.
        OwnerAmbiguous: several are.
    """
    addresses, upns = names_in(keys)
    if not addresses and not upns:
        raise NoSuchOwner("its certificates hold neither a mail address nor a UPN: say whose they are")
    found = {person.id: person for person in _with_address(session, addresses)}
    if not found:
        found = {person.id: person for person in _with_upn(session, upns)}
    if not found:
        raise NoSuchOwner(f"nobody on record has {_shown([*addresses, *upns])}")
    if len(found) > 1:
        raise OwnerAmbiguous(f"its certificates are of several persons: {_shown(person.upn for person in found.values())}")
    (person,) = found.values()
    return person


def names_person(keys: Sequence[FoundKey], person: PersonRecord) -> bool:
    """Say whether the certificates hold an address or the UPN of the person, or no name of that kind at all."""
    addresses, upns = names_in(keys)
    if not addresses and not upns:
        return True
    own = {person.upn, person.email, *person.aliases}
    return not own.isdisjoint([*_stored(normalise_email, addresses), *_stored(normalise_upn, [*upns, *addresses])])


def names_in(keys: Sequence[FoundKey]) -> tuple[list[str], list[str]]:
    """Return the mail addresses and the UPNs in the certificates, each once."""
    found = [certificate for key in keys for certificate in key.certificates]
    addresses = dict.fromkeys(address for each in found for address in each.addresses)
    return [*addresses], [*dict.fromkeys(upn for each in found for upn in each.upns)]


def _with_address(session: Session, addresses: Iterable[str]) -> Iterator[PersonRecord]:
    for address in _stored(normalise_email, addresses):
        person = find_person(session, email=address)
        if person is not None:
            yield person


def _with_upn(session: Session, upns: Iterable[str]) -> Iterator[PersonRecord]:
    for upn in _stored(normalise_upn, upns):
        person = find_person(session, upn=upn)
        if person is not None:
            yield person


def _stored(normalise: Callable[[str], str], names: Iterable[str]) -> Iterator[str]:
    """Yield names as they would be on record; what could not be, is nobody's."""
    for name in names:
        with suppress(InvalidField):
            yield normalise(name)


def _shown(names: Iterable[str]) -> str:
    several = [name[:_LONGEST_SHOWN] for name in names]
    return ", ".join(several[:_SHOWN]) + (", …" if len(several) > _SHOWN else "")
