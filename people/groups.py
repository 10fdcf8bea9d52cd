"""Groups: named sets of persons."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, func, insert, select
from sqlmodel import Session

from audit.log import Actor, Event, record
from foundation.tables import table_of
from people.errors import AlreadyTaken, UnknownGroup
from people.identifiers import is_id, normalise_text
from people.persons import get_person
from people.records import Group, GroupMember
from people.uniqueness import claiming

_GROUP = table_of(Group)
_MEMBER = table_of(GroupMember)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecord:
    """A group as recorded; ``members`` counts its persons. ``persons.list_persons`` tells who they are."""

    id: int
    name: str
    description: str
    created_at: datetime
    members: int


_GROUPS = (
    select(_GROUP.c.id, _GROUP.c.name, _GROUP.c.description, _GROUP.c.created_at, func.count(_MEMBER.c.id).label("members"))
    .join_from(_GROUP, _MEMBER, isouter=True)
    .group_by(_GROUP.c.id, _GROUP.c.name, _GROUP.c.description, _GROUP.c.created_at)
    .order_by(_GROUP.c.name)
)
_BY_NAME = _GROUPS.where(_GROUP.c.name == bindparam("group_name"))
_BY_ID = _GROUPS.where(_GROUP.c.id == bindparam("group_id"))


def add_group(session: Session, name: str, description: str = "", *, actor: Actor, now: datetime) -> GroupRecord:
    """Record a new, empty group.

    Raises:
        InvalidField: a field breaks its rules.
        AlreadyTaken: another group has the name.
    """
    values = {
        "name": normalise_text(name, field="group", maximum=100, required=True),
        "description": normalise_text(description, field="description", maximum=500),
    }
    with claiming(session, lambda: AlreadyTaken("group", f"{values['name']} is already recorded")):
        inserted = session.execute(insert(_GROUP).returning(_GROUP.c.id), {**values, "created_at": now})
        group_id: int = inserted.scalar_one()
    record(session, Event(actor, "group.added", f"group:{group_id}", details=values), now=now)
    return GroupRecord(**values, id=group_id, created_at=now, members=0)


def remove_group(session: Session, name: str, *, actor: Actor, now: datetime) -> GroupRecord:
    """Forget a group and its memberships, not its persons; return what it was. Raises UnknownGroup."""
    group = get_group(session, name)
    session.execute(delete(_MEMBER).where(_MEMBER.c.group_id == group.id))
    session.execute(delete(_GROUP).where(_GROUP.c.id == group.id))
    details = {key: value for key, value in asdict(group).items() if key in {"name", "members"}}
    record(session, Event(actor, "group.removed", f"group:{group.id}", details=details), now=now)
    return group


def add_member(session: Session, name: str, person_id: int, *, actor: Actor, now: datetime) -> bool:
    """Put a person into the group; return False when they were in it already.

    Raises:
        UnknownGroup: there is no such group.
        UnknownPerson: there is no such person.
    """
    group, person = get_group(session, name), get_person(session, person_id)
    try:
        with claiming(session, lambda: AlreadyTaken("member", "is in the group already")):
            session.execute(insert(_MEMBER), {"group_id": group.id, "person_id": person_id})
    except AlreadyTaken:
        return False
    details = {"group": group.name, "upn": person.upn, "person": person_id}
    record(session, Event(actor, "group.member_added", f"group:{group.id}", details=details), now=now)
    return True


def remove_member(session: Session, name: str, person_id: int, *, actor: Actor, now: datetime) -> bool:
    """Take a person out of the group; return False when they were not in it. Raises as ``add_member`` does."""
    group, person = get_group(session, name), get_person(session, person_id)
    removed = session.execute(
        delete(_MEMBER).where(_MEMBER.c.group_id == group.id, _MEMBER.c.person_id == person_id).returning(_MEMBER.c.id),
    )
    if removed.first() is None:
        return False
    details = {"group": group.name, "upn": person.upn, "person": person_id}
    record(session, Event(actor, "group.member_removed", f"group:{group.id}", details=details), now=now)
    return True


def find_group(session: Session, name: str) -> GroupRecord | None:
    """Return the group of this name, if there is one."""
    row = session.execute(_BY_NAME, {"group_name": name.strip()}).one_or_none()
    return GroupRecord(**row._mapping) if row else None  # noqa: SLF001 - SQLAlchemy's public name for it


def get_group(session: Session, name: str) -> GroupRecord:
    """Return the group of this name. Raises UnknownGroup."""
    group = find_group(session, name)
    if group is None:
        raise UnknownGroup(f"there is no group {name}")
    return group


def group_named(session: Session, name: str) -> GroupRecord:
    """Return the group an administrator means by ``name``: a name or, where none has that, an id. Raises UnknownGroup."""
    group = find_group(session, name)
    if group is None and is_id(name):
        row = session.execute(_BY_ID, {"group_id": int(name)}).one_or_none()
        group = GroupRecord(**row._mapping) if row else None  # noqa: SLF001 - as above
    if group is None:
        raise UnknownGroup(f"there is no group {name}")
    return group


def list_groups(session: Session, *, after: str = "", limit: int | None = None) -> Sequence[GroupRecord]:
    """Return up to ``limit`` groups, or all, in the order of their names, beginning behind the name ``after``."""
    page = _GROUPS.where(_GROUP.c.name > after).limit(limit)
    return [GroupRecord(**row._mapping) for row in session.execute(page)]  # noqa: SLF001 - as above
