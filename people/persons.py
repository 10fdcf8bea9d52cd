"""Persons: who has a mailbox, under which addresses and names.

Every act writes its audit event in the caller's transaction. What comes out are frozen values, which outlive the session.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Row, Select, bindparam, delete, insert, or_, select, update
from sqlmodel import Session

from audit.log import Actor, Event, record
from foundation.statements import Prepared
from foundation.tables import table_of
from people.addresses import normalise_email, normalise_upn
from people.errors import AlreadyTaken, InvalidField, UnknownAddress, UnknownPerson
from people.identifiers import is_id
from people.membership import is_member, members
from people.person import FIELD_NAMES, PersonFields, PersonRecord, changed_fields, normalise_person
from people.records import MailAddress, Person
from people.uniqueness import claiming

MAX_PAGE = 1000

_PERSON = table_of(Person)
_ADDRESS = table_of(MailAddress)


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonFilter:
    """Which persons to list: ``text`` occurs in UPN, address or name; ``group`` is a group's name. None does not restrict.

    ``within`` names a group beside whose members nobody exists.
    """

    text: str | None = None
    active: bool | None = None
    group: str | None = None
    within: str | None = None


_STORED_FIELDS = tuple(name for name in FIELD_NAMES if name != "aliases")
_COLUMNS = ("id", "active", "created_at", "changed_at", *_STORED_FIELDS)


def _selected(source: Any) -> Select[Any]:  # noqa: ANN401 - the table, or a page of it
    """Return the query for persons of ``source``: a row for each address, the person's columns repeated."""
    columns = [source.c[name] for name in _COLUMNS]
    return select(*columns, _ADDRESS.c.email.label("address")).join_from(source, _ADDRESS, _ADDRESS.c.person_id == source.c.id)


_BY_ID = Prepared(_selected(_PERSON).where(_PERSON.c.id == bindparam("person_id")).order_by(_ADDRESS.c.id))
_BY_UPN = _selected(_PERSON).where(_PERSON.c.upn == bindparam("upn")).order_by(_ADDRESS.c.id)
_OWNER_OF_ADDRESS = select(_ADDRESS.c.person_id).where(_ADDRESS.c.email == bindparam("email")).scalar_subquery()
_BY_ADDRESS = _selected(_PERSON).where(_PERSON.c.id == _OWNER_OF_ADDRESS).order_by(_ADDRESS.c.id)
_BY_UPNS = _selected(_PERSON).where(_PERSON.c.upn.in_(bindparam("upns", expanding=True))).order_by(_PERSON.c.id, _ADDRESS.c.id)


def add_person(session: Session, given: PersonFields, *, actor: Actor, now: datetime) -> PersonRecord:
    """Record a new person, active at once.

    Raises:
        InvalidField: a field breaks its rules.
        AlreadyTaken: the UPN, the SID or an address is another person's.
    """
    wanted = normalise_person(given)
    values = {name: getattr(wanted, name) for name in _STORED_FIELDS}
    with claiming(session, lambda: _taken(session, wanted, None)):
        inserted = session.execute(
            insert(_PERSON).returning(_PERSON.c.id),
            {**values, "active": True, "created_at": now, "changed_at": now},
        )
        person_id: int = inserted.scalar_one()
        _add_addresses(session, person_id, (wanted.email, *wanted.aliases))
    set_fields = {name: _jsonable(value) for name in FIELD_NAMES if (value := getattr(wanted, name))}
    record(session, Event(actor, "person.added", f"person:{person_id}", details=set_fields), now=now)
    return PersonRecord(**values, aliases=wanted.aliases, id=person_id, active=True, created_at=now, changed_at=now)


# Told of a person whose fields have changed, in the transaction that changes them.
PersonListener = Callable[[Session, PersonRecord], None]


def change_person(
    session: Session,
    person_id: int,
    given: PersonFields,
    *,
    actor: Actor,
    now: datetime,
    listeners: Sequence[PersonListener] = (),
) -> PersonRecord:
    """Make the person's fields those ``given``; what already agrees is not touched, and no difference leaves no trace.

    The ``listeners`` are told of a difference, in the session's transaction.

    Raises:
        UnknownPerson: there is no person of this id.
        InvalidField: a field breaks its rules.
        AlreadyTaken: the UPN, the SID or an address is another person's.
    """
    wanted = normalise_person(given)
    current = _locked(session, person_id)
    changed = changed_fields(current, wanted)
    if not changed:
        return current
    values = {name: getattr(wanted, name) for name in changed if name != "aliases"}
    before = {current.email, *current.aliases}
    after = {wanted.email, *wanted.aliases}
    with claiming(session, lambda: _taken(session, wanted, person_id)):
        session.execute(update(_PERSON).where(_PERSON.c.id == person_id).values(**values, changed_at=now))
        if before - after:
            session.execute(delete(_ADDRESS).where(_ADDRESS.c.email.in_(before - after)))
        _add_addresses(session, person_id, [address for address in (wanted.email, *wanted.aliases) if address not in before])
    details = {
        "upn": wanted.upn,
        "changed": {name: [_jsonable(getattr(current, name)), _jsonable(getattr(wanted, name))] for name in changed},
    }
    record(session, Event(actor, "person.changed", f"person:{person_id}", details=details), now=now)
    person = get_person(session, person_id)
    for listener in listeners:
        listener(session, person)
    return person


def add_alias(session: Session, person_id: int, alias: str, *, actor: Actor, now: datetime) -> PersonRecord:
    """Give the person a further address. One they already have changes nothing. Raises as ``change_person`` does."""
    current = _locked(session, person_id)
    return change_person(session, person_id, replace(current.fields, aliases=(*current.aliases, alias)), actor=actor, now=now)


def remove_alias(session: Session, person_id: int, alias: str, *, actor: Actor, now: datetime) -> PersonRecord:
    """Take an alias from the person.

    Raises:
        UnknownPerson: there is no person of this id.
        UnknownAddress: it is none of their aliases; the primary address is changed, not removed.
    """
    current = _locked(session, person_id)
    unwanted = normalise_email(alias, field="alias")
    if unwanted not in current.aliases:
        raise UnknownAddress(f"{unwanted} is not an alias of {current.upn}")
    left = tuple(address for address in current.aliases if address != unwanted)
    return change_person(session, person_id, replace(current.fields, aliases=left), actor=actor, now=now)


def deactivate_person(session: Session, person_id: int, *, actor: Actor, now: datetime) -> PersonRecord:
    """Bar the person from enrolment and renewal; certificates stay as they are. Raises UnknownPerson."""
    return _set_active(session, person_id, "person.deactivated", active=False, actor=actor, now=now)


def reactivate_person(session: Session, person_id: int, *, actor: Actor, now: datetime) -> PersonRecord:
    """Let the person enrol again. Raises UnknownPerson."""
    return _set_active(session, person_id, "person.reactivated", active=True, actor=actor, now=now)


def find_person_for_enrolment(session: Session, person_id: int) -> PersonRecord | None:
    """Return the person of this id, in one statement prepared beforehand: every enrolment runs it."""
    return _one(_BY_ID.rows(session, {"person_id": person_id}))


def find_person(
    session: Session, *, upn: str | None = None, email: str | None = None, within: str | None = None
) -> PersonRecord | None:
    """Return the person with this UPN, or with this primary or alias address; spelling is normalised first.

    ``within`` names a group beside whose members nobody exists.

    Raises:
        InvalidField: what is looked for could not be recorded.
    """
    if upn is not None:
        return _seen(session, _one(session.execute(_BY_UPN, {"upn": normalise_upn(upn)}).all()), within)
    if email is not None:
        return _seen(session, _one(session.execute(_BY_ADDRESS, {"email": normalise_email(email)}).all()), within)
    return None


def find_persons_by_upn(session: Session, upns: Iterable[str]) -> dict[str, PersonRecord]:
    """Return those of the (normalised) ``upns`` that are recorded, with their persons."""
    rows = session.execute(_BY_UPNS, {"upns": list(upns)}).all()
    return {person.upn: person for person in _records(rows)}


def upns_of(session: Session, ids: Collection[int]) -> dict[int, str]:
    """Return the UPNs of the persons of these ids, by id."""
    rows = session.execute(select(_PERSON.c.id, _PERSON.c.upn).where(_PERSON.c.id.in_(ids)))
    return {row.id: row.upn for row in rows}


def get_person(session: Session, person_id: int, *, within: str | None = None) -> PersonRecord:
    """Return the person of this id, who is in the group ``within`` where one is named. Raises UnknownPerson."""
    person = _seen(session, find_person_for_enrolment(session, person_id), within)
    if person is None:
        raise UnknownPerson(f"there is no person {person_id}")
    return person


def person_named(session: Session, name: str, *, within: str | None = None) -> PersonRecord:
    """Return the person an administrator means by ``name``: a UPN or, where nobody has that, a mail address; or an id.

    ``within`` names a group beside whose members nobody exists.

    Raises:
        UnknownPerson: nobody has it.
        InvalidField: it has an @ and is neither.
    """
    if is_id(name):
        return get_person(session, int(name), within=within)
    if "@" not in name:
        raise UnknownPerson(f"nobody has the UPN, mail address or number {name}")
    person = find_person(session, upn=name, within=within) if _can_be_upn(name) else None
    person = person or find_person(session, email=name, within=within)
    if person is None:
        raise UnknownPerson(f"nobody has the UPN or mail address {name}")
    return person


def list_persons(
    session: Session,
    wanted: PersonFilter = PersonFilter(),
    *,
    after: str = "",
    limit: int = 100,
) -> Sequence[PersonRecord]:
    """Return up to ``limit`` (at most 1000) persons in the order of their UPNs, beginning behind the UPN ``after``."""
    page = select(_PERSON).where(_PERSON.c.upn > after)
    if wanted.active is not None:
        page = page.where(_PERSON.c.active == wanted.active)
    for group in (wanted.group, wanted.within):
        if group is not None:
            page = page.where(_PERSON.c.id.in_(members(group)))
    if wanted.text:
        addressed = select(_ADDRESS.c.person_id).where(_ADDRESS.c.email.icontains(wanted.text, autoescape=True))
        names = (_PERSON.c.upn, _PERSON.c.display_name, _PERSON.c.given_name, _PERSON.c.surname)
        named = (column.icontains(wanted.text, autoescape=True) for column in names)
        page = page.where(or_(_PERSON.c.id.in_(addressed), *named))
    limited = page.order_by(_PERSON.c.upn).limit(max(1, min(limit, MAX_PAGE))).subquery()
    return _records(session.execute(_selected(limited).order_by(limited.c.upn, _ADDRESS.c.id)).all())


def _records(rows: Sequence[Row[Any]]) -> list[PersonRecord]:
    """Return the persons of ``rows``, each of which is a person and one address, those of a person in succession."""
    persons = []
    for _, group in groupby(rows, key=itemgetter(0)):
        of_person = list(group)
        columns = dict(zip(_COLUMNS, of_person[0], strict=False))
        aliases = tuple(row[-1] for row in of_person if row[-1] != columns["email"])
        persons.append(PersonRecord(**columns, aliases=aliases))
    return persons


def _seen(session: Session, person: PersonRecord | None, within: str | None) -> PersonRecord | None:
    """Return ``person`` unless they are outside of the group ``within``."""
    return person if person is None or within is None or is_member(session, person.id, within) else None


def _one(rows: Sequence[Row[Any]]) -> PersonRecord | None:
    return _records(rows)[0] if rows else None


def _locked(session: Session, person_id: int) -> PersonRecord:
    """Return the person, whom nobody else may change before this transaction ends. Raises UnknownPerson."""
    session.execute(select(_PERSON.c.id).where(_PERSON.c.id == person_id).with_for_update())
    return get_person(session, person_id)


def _add_addresses(session: Session, person_id: int, addresses: Sequence[str]) -> None:
    if addresses:
        session.execute(insert(_ADDRESS), [{"person_id": person_id, "email": address} for address in addresses])


def _set_active(
    session: Session,
    person_id: int,
    action: str,
    *,
    active: bool,
    actor: Actor,
    now: datetime,
) -> PersonRecord:
    current = _locked(session, person_id)
    if current.active == active:
        return current
    session.execute(update(_PERSON).where(_PERSON.c.id == person_id).values(active=active, changed_at=now))
    record(session, Event(actor, action, f"person:{person_id}", details={"upn": current.upn}), now=now)
    return replace(current, active=active, changed_at=now)


def _taken(session: Session, wanted: PersonFields, person_id: int | None) -> AlreadyTaken:
    """Find what of ``wanted`` another person has."""
    others = select(_PERSON.c.upn).where(_PERSON.c.id != (person_id or 0))
    if session.scalar(others.where(_PERSON.c.upn == wanted.upn)):
        return AlreadyTaken("upn", f"{wanted.upn} is already recorded")
    for address in (wanted.email, *wanted.aliases):
        owner = session.scalar(others.join(_ADDRESS).where(_ADDRESS.c.email == address))
        if owner:
            field = "email" if address == wanted.email else "aliases"
            return AlreadyTaken(field, f"{address} already belongs to {owner}")
    owner = session.scalar(others.where(_PERSON.c.sid == wanted.sid)) if wanted.sid else None
    if owner:
        return AlreadyTaken("sid", f"it already belongs to {owner}")
    return AlreadyTaken("person", "was changed by someone else at the same moment; try again")


def _can_be_upn(name: str) -> bool:
    try:
        normalise_upn(name)
    except InvalidField:
        return False
    return True


def _jsonable(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
