"""``/groups``: named sets of persons."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import Response
from pydantic import Field
from sqlmodel import Session

from people import groups
from people.groups import GroupRecord, group_named
from people.persons import PersonFilter, list_persons, person_named
from signetry.access.roles import Permission
from signetry.api.context import Here
from signetry.api.fields import TEXT, GroupName, PersonName
from signetry.api.idempotency import Once
from signetry.api.models import Asked, Shown, with_examples
from signetry.api.paging import InPages, Page
from signetry.api.persons import PersonShown
from signetry.api.routing import router
from signetry.api.security import Caller, requires

routes = router("/groups", "Groups")

_ASKED = {"name": "phones", "description": "Whose phones the MDM manages"}


class GroupShown(Shown):
    """A group as recorded."""

    model_config = with_examples({"id": 3, **_ASKED, "created_at": "2026-06-01T12:00:00Z", "members": 214})

    id: int
    name: str
    description: str
    created_at: datetime
    members: Annotated[int, Field(description="How many persons are in it.")]


class GroupAsked(Asked):
    """A group to record."""

    model_config = with_examples(_ASKED)

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=TEXT)]
    description: Annotated[str, Field(max_length=500, pattern=TEXT)] = ""


@routes.get("")
def list_all(_caller: Annotated[Caller, requires(Permission.READ_GROUPS)], here: Here, paging: InPages) -> Page[GroupShown]:
    """List groups in the order of their names."""
    (after,) = paging.after(str) or ("",)
    with here.transactions.reading() as session:
        found = groups.list_groups(session, after=after, limit=paging.one_more)
    return paging.page(found, lambda group: (group.name,), GroupShown.model_validate)


@routes.post("", status_code=201, response_model=GroupShown)
def add(asked: GroupAsked, caller: Annotated[Caller, requires(Permission.CHANGE_GROUPS)], here: Here, once: Once) -> Response:
    """Record a new group, without members."""

    def act(session: Session) -> GroupShown:
        made = groups.add_group(session, asked.name, asked.description, actor=caller.actor, now=here.now())
        return GroupShown.model_validate(made)

    return once.answer(act)


@routes.get("/{group}")
def show(group: GroupName, _caller: Annotated[Caller, requires(Permission.READ_GROUPS)], here: Here) -> GroupShown:
    """Show a group. Its members are a list of their own."""
    with here.transactions.reading() as session:
        return GroupShown.model_validate(group_named(session, group))


@routes.delete("/{group}")
def remove(group: GroupName, caller: Annotated[Caller, requires(Permission.CHANGE_GROUPS)], here: Here) -> GroupShown:
    """Forget a group; its persons stay. The answer shows what it was."""

    def act(session: Session) -> GroupRecord:
        return groups.remove_group(session, group_named(session, group).name, actor=caller.actor, now=here.now())

    return GroupShown.model_validate(caller.house.transactions.write(act))


@routes.get("/{group}/members")
def list_members(
    group: GroupName, _caller: Annotated[Caller, requires(Permission.READ_GROUPS)], here: Here, paging: InPages
) -> Page[PersonShown]:
    """List a group's members in the order of their UPNs."""
    (after,) = paging.after(str) or ("",)
    with here.transactions.reading() as session:
        wanted = PersonFilter(group=group_named(session, group).name)
        found = list_persons(session, wanted, after=after, limit=paging.one_more)
    return paging.page(found, lambda person: (person.upn,), PersonShown.model_validate)


@routes.put("/{group}/members/{person}")
def add_member(
    group: GroupName, person: PersonName, caller: Annotated[Caller, requires(Permission.CHANGE_GROUPS)], here: Here
) -> GroupShown:
    """Put a person into a group. One who is in it already stays in it."""
    return _with_members_changed(groups.add_member, group, person, caller, here)


@routes.delete("/{group}/members/{person}")
def remove_member(
    group: GroupName, person: PersonName, caller: Annotated[Caller, requires(Permission.CHANGE_GROUPS)], here: Here
) -> GroupShown:
    """Take a person out of a group. One who is not in it stays out of it."""
    return _with_members_changed(groups.remove_member, group, person, caller, here)


def _with_members_changed(change: Callable[..., bool], group: str, person: str, caller: Caller, here: Here) -> GroupShown:
    def act(session: Session) -> GroupRecord:
        name = group_named(session, group).name
        change(session, name, person_named(session, person).id, actor=caller.actor, now=here.now())
        return groups.get_group(session, name)

    return GroupShown.model_validate(caller.house.transactions.write(act))
