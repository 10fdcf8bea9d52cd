"""``/persons``: who has a mailbox here."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import Path, Query, Response
from pydantic import Field
from sqlmodel import Session

from people import persons as people
from people.person import MAX_ALIASES, PersonFields, PersonRecord
from people.persons import PersonFilter, list_persons, person_named
from signetry.access.roles import Permission
from signetry.administration import persons
from signetry.administration.rehearsal import perform
from signetry.api.context import Here
from signetry.api.fields import ADDRESS, TEXT, DryRun, OnlyActive, PersonName, Searched
from signetry.api.idempotency import Once
from signetry.api.models import Asked, Shown, with_examples
from signetry.api.paging import InPages, Page
from signetry.api.routing import router
from signetry.api.security import Caller, requires

routes = router("/persons", "Persons")

_ASKED = {
    "upn": "taro@corp.example.com",
    "email": "taro.yamada@example.com",
    "aliases": ["t.yamada@example.com"],
    "display_name": "山田 太郎",
    "language": "ja",
}
_SHOWN = {
    "id": 17,
    **_ASKED,
    "given_name": "太郎",
    "middle_name": "",
    "surname": "山田",
    "account_name": "taro",
    "domain": "CORP",
    "employee_code": "4711",
    "sid": "S-1-5-21-1004336348-1177238915-682003330-1103",
    "active": True,
    "created_at": "2026-06-01T12:00:00Z",
    "changed_at": "2026-06-01T12:00:00Z",
}

Upn = Annotated[str, Field(min_length=3, max_length=320, pattern=ADDRESS, description="User principal name.")]
Email = Annotated[str, Field(min_length=3, max_length=320, pattern=ADDRESS, description="Primary SMTP address.")]
Alias = Annotated[str, Field(min_length=3, max_length=320, pattern=ADDRESS)]
Aliases = Annotated[list[Alias], Field(max_length=MAX_ALIASES, description="Further mail addresses.")]
DisplayName = Annotated[str, Field(max_length=200, pattern=TEXT)]
Name = Annotated[str, Field(max_length=100, pattern=TEXT)]
AccountName = Annotated[
    str, Field(max_length=100, pattern=r'^[^"/\\\[\]:;|=,+*?<>\u0000-\u001f\u007f-\u009f]*$', description="sAMAccountName.")
]
Domain = Annotated[str, Field(max_length=255, pattern=TEXT, description="The account's domain: a NetBIOS or DNS name.")]
Sid = Annotated[
    str,
    Field(
        max_length=184,
        pattern=r"^(?:[Ss]-1-5(?:-[0-9]{1,10}){1,15})?$",
        description="Security identifier of the AD account, S-1-5-…",
    ),
]
Language = Annotated[
    str,
    Field(
        max_length=35,
        pattern=r"^[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*$",
        description="Language of notices, such as en or ja (RFC 5646).",
    ),
]
AliasInPath = Annotated[
    str, Path(min_length=3, max_length=320, pattern=ADDRESS, openapi_examples={"alias": {"value": "t@example.com"}})
]


class PersonShown(Shown):
    """A person as recorded."""

    model_config = with_examples(_SHOWN)

    id: int
    upn: str
    email: str
    aliases: list[str]
    display_name: str
    given_name: str
    middle_name: str
    surname: str
    account_name: str
    domain: str
    employee_code: str
    sid: str | None
    language: str
    active: bool
    created_at: datetime
    changed_at: datetime


class PersonAsked(Asked):
    """A person to record."""

    model_config = with_examples(_ASKED)

    upn: Upn
    email: Email
    aliases: Aliases = Field(default=[])
    display_name: DisplayName = ""
    given_name: Name = ""
    middle_name: Name = ""
    surname: Name = ""
    account_name: AccountName = ""
    domain: Domain = ""
    employee_code: Name = ""
    sid: Sid = ""
    language: Language = "en"

    @property
    def fields(self) -> PersonFields:
        """What to record."""
        return PersonFields(**{**self.model_dump(), "aliases": tuple(self.aliases), "sid": self.sid or None})


class PersonChange(Asked):
    """What to change; fields that are left out stay as they are, an empty text empties."""

    model_config = with_examples({"email": "taro.suzuki@example.com", "surname": "鈴木"})

    upn: Upn | None = None
    email: Annotated[Email | None, Field(description="The primary address; the one before is dropped unless it is an alias.")] = (
        None
    )
    aliases: Annotated[Aliases | None, Field(description="All aliases, in the place of those there are.")] = None
    display_name: DisplayName | None = None
    given_name: Name | None = None
    middle_name: Name | None = None
    surname: Name | None = None
    account_name: AccountName | None = None
    domain: Domain | None = None
    employee_code: Name | None = None
    sid: Sid | None = None
    language: Language | None = None


class Offboarded(Shown):
    """What somebody's leaving meant."""

    model_config = with_examples(
        {
            "person": {**_SHOWN, "active": False},
            "devices": ["taro-iphone"],
            "revoked": ["4f02a3c1d5e6f708192a3b4c5d6e7f80"],
            "stopped_deliveries": [7],
            "withdrawn": [],
            "archived_keys": 3,
            "directories": ["corp"],
        }
    )

    person: PersonShown
    devices: Annotated[list[str], Field(description="The names of their devices, all inactive now.")]
    revoked: Annotated[list[str], Field(description="The serial numbers of their certificates that were revoked.")]
    stopped_deliveries: Annotated[list[int], Field(description="The numbers of deliveries of keys that were stopped.")]
    withdrawn: Annotated[
        list[str],
        Field(description="The serial numbers of other authorities' certificates that are published no more; they revoke them."),
    ]
    archived_keys: Annotated[int, Field(description="How many keys the archive keeps, for recovery.")]
    directories: Annotated[list[str], Field(description="The directories that are told.")]


@routes.get("")
def list_all(
    caller: Annotated[Caller, requires(Permission.READ_PERSONS)],
    here: Here,
    paging: InPages,
    *,
    text: Annotated[Searched, Query(description="Only those with this in UPN, address or name.")] = None,
    group: Annotated[str | None, Query(max_length=100, description="Only members of this group.")] = None,
    active: OnlyActive = None,
) -> Page[PersonShown]:
    """List persons in the order of their UPNs. To ask for a group takes a role that may read groups."""
    (after,) = paging.after(str) or ("",)
    within = caller.scope.group if caller.scope else None
    if group not in (None, within):
        # Else the filter would tell who is in it.
        caller.require(Permission.READ_GROUPS)
    wanted = PersonFilter(text=text, active=active, group=group, within=within)
    with here.transactions.reading() as session:
        found = list_persons(session, wanted, after=after, limit=paging.one_more)
    return paging.page(found, lambda person: (person.upn,), PersonShown.model_validate)


@routes.post("", status_code=201, response_model=PersonShown)
def add(asked: PersonAsked, caller: Annotated[Caller, requires(Permission.CHANGE_PERSONS)], here: Here, once: Once) -> Response:
    """Record a person, active at once."""

    def act(session: Session) -> PersonShown:
        return PersonShown.model_validate(people.add_person(session, asked.fields, actor=caller.actor, now=here.now()))

    return once.answer(act)


@routes.get("/{person}")
def show(person: PersonName, caller: Annotated[Caller, requires(Permission.READ_PERSONS)], here: Here) -> PersonShown:
    """Show a person."""
    with here.transactions.reading() as session:
        found = person_named(session, person, within=caller.scope.group if caller.scope else None)
    return PersonShown.model_validate(found)


@routes.patch("/{person}")
def change(
    person: PersonName, asked: PersonChange, caller: Annotated[Caller, requires(Permission.CHANGE_PERSONS)]
) -> PersonShown:
    """Change what is recorded of a person."""
    changes: dict[str, Any] = asked.model_dump(exclude_none=True)
    if asked.aliases is not None:
        changes["aliases"] = tuple(asked.aliases)
    return _written(caller, lambda session: persons.change(session, caller.house, person, changes))


@routes.put("/{person}/aliases/{email}")
def add_alias(
    person: PersonName,
    email: AliasInPath,
    caller: Annotated[Caller, requires(Permission.CHANGE_PERSONS)],
) -> PersonShown:
    """Give a person a further mail address. One they already have changes nothing."""
    return _written(caller, lambda session: persons.change(session, caller.house, person, {}, added=[email]))


@routes.delete("/{person}/aliases/{email}")
def remove_alias(
    person: PersonName,
    email: AliasInPath,
    caller: Annotated[Caller, requires(Permission.CHANGE_PERSONS)],
) -> PersonShown:
    """Take an alias from a person. The primary address is changed, not removed."""
    return _written(caller, lambda session: persons.change(session, caller.house, person, {}, removed=[email]))


@routes.post("/{person}/deactivate")
def deactivate(person: PersonName, caller: Annotated[Caller, requires(Permission.CHANGE_PERSONS)], here: Here) -> PersonShown:
    """Bar a person from enrolment and renewal. Certificates stay valid: see offboard."""

    def act(session: Session) -> PersonRecord:
        return people.deactivate_person(session, person_named(session, person).id, actor=caller.actor, now=here.now())

    return _written(caller, act)


@routes.post("/{person}/activate")
def activate(person: PersonName, caller: Annotated[Caller, requires(Permission.CHANGE_PERSONS)], here: Here) -> PersonShown:
    """Let a person enrol again."""

    def act(session: Session) -> PersonRecord:
        return people.reactivate_person(session, person_named(session, person).id, actor=caller.actor, now=here.now())

    return _written(caller, act)


@routes.post("/{person}/offboard")
def offboard(
    person: PersonName, caller: Annotated[Caller, requires(Permission.OFFBOARD_PERSONS)], *, dry_run: DryRun = False
) -> Offboarded:
    """Somebody leaves: deactivate them and their devices, revoke every certificate of theirs, and stop deliveries of their keys.

    The key archive keeps what it has, for recovery. Doing it again is harmless, and revokes what has been issued since.
    """

    def act(session: Session) -> persons.Offboarded:
        return persons.offboard(session, caller.house, person)

    gone = caller.house.transactions.write(lambda session: perform(session, act, dry_run=dry_run))
    return Offboarded(
        person=PersonShown.model_validate(gone.person),
        devices=[device.name for device in gone.devices],
        revoked=list(gone.revoked),
        stopped_deliveries=list(gone.keys.stopped),
        withdrawn=list(gone.keys.withdrawn),
        archived_keys=gone.keys.kept,
        directories=list(gone.directories),
    )


def _written(caller: Caller, act: Callable[[Session], PersonRecord]) -> PersonShown:
    return PersonShown.model_validate(caller.house.transactions.write(act))
