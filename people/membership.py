"""Who is in a group, for queries about persons and their devices."""

from sqlalchemy import Select, bindparam, select
from sqlmodel import Session

from foundation.tables import table_of
from people.records import Group, GroupMember

_GROUP = table_of(Group)
_MEMBER = table_of(GroupMember)
_MEMBERSHIP = (
    select(_MEMBER.c.id)
    .join_from(_MEMBER, _GROUP)
    .where(_MEMBER.c.person_id == bindparam("person_id"), _GROUP.c.name == bindparam("group_name"))
)


def members(group: str) -> Select[tuple[int]]:
    """Return the query for the ids of the persons in the group of this name, for use within another query."""
    return select(_MEMBER.c.person_id).join_from(_MEMBER, _GROUP).where(_GROUP.c.name == group)


def is_member(session: Session, person_id: int, group: str) -> bool:
    """Say whether a person is in the group of this name."""
    return session.execute(_MEMBERSHIP, {"person_id": person_id, "group_name": group}).first() is not None
