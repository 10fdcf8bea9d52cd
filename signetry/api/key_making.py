"""``/encryption-keys``: encryption certificates whose keys are made here, for a person or for a group."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from ca.selection import parse_serial
from signetry.access.roles import Permission
from signetry.administration import key_making
from signetry.api.context import Here
from signetry.api.fields import DryRun, Serial, Who
from signetry.api.models import WHOLE, Asked, Shown, with_examples
from signetry.api.routing import LENGTHY, router
from signetry.api.security import Caller, requires

routes = router("/encryption-keys", "Keys made here")

# A key takes a fraction of a second, and the request waits for all of them.
AT_ONCE = 50

_ISSUED: dict[str, Any] = {
    "person": "taro@corp.example.com",
    "outcome": "issued",
    "serial": "4f02a3c1d5e6f708192a3b4c5d6e7f80",
    "origin": "made",
    "not_after": "2028-06-01T11:54:59Z",
    "held_until": "2026-07-01T12:00:00Z",
    "problem": "",
}


class KeyAsked(Asked):
    """For whom to make a key."""

    model_config = with_examples(
        {"person": "taro@corp.example.com"},
        {"person": "taro@corp.example.com", "instead_of": "4f02a3c1d5e6f708192a3b4c5d6e7f80"},
    )

    person: Who
    instead_of: Annotated[
        Serial | None, Field(description="Of their current certificate: they get a new key although they have this one.")
    ] = None


class GroupKeysAsked(Asked):
    """For which group to make keys, and from which person on."""

    model_config = with_examples({"group": "phones"}, {"group": "phones", "after": "taro@corp.example.com", "at_most": 50})

    group: Annotated[str, Field(min_length=1, max_length=100, description="The group's name or number.")]
    after: Annotated[str, Field(max_length=320, description="Begin behind this UPN: the `next` of the request before.")] = ""
    at_most: Annotated[int, Field(ge=1, le=AT_ONCE, description="How many persons at most."), WHOLE] = AT_ONCE


class KeyMade(Shown):
    """What became of an order for one person."""

    model_config = with_examples(_ISSUED)

    person: Annotated[str, Field(description="Their UPN.")]
    outcome: Annotated[
        Literal["issued", "present", "refused"], Field(description="`present`: they have a current certificate already.")
    ]
    serial: Annotated[str | None, Field(description="Of the certificate they have now; none after a dry run.")]
    origin: Annotated[Literal["made", "imported"] | None, Field(description="Where its key is from.")]
    not_after: datetime | None
    held_until: Annotated[
        datetime | None, Field(description="Until when it is published nowhere, at most: the person's devices wait for its key.")
    ]
    problem: Annotated[str, Field(description="Why it was refused.")]


class GroupKeysMade(Shown):
    """What became of an order for a group."""

    model_config = with_examples({"items": [_ISSUED], "next": None})

    items: list[KeyMade]
    next: Annotated[str | None, Field(description="The `after` of the next request; null when everybody was seen to.")]


@routes.post("", dependencies=[LENGTHY])
def make_one(
    asked: KeyAsked, caller: Annotated[Caller, requires(Permission.MAKE_KEYS)], here: Here, *, dry_run: DryRun = False
) -> KeyMade:
    """Make an encryption key for a person, certify it and keep it in the archive.

    Who has a current certificate for encryption in the archive, made here or imported, keeps it, unless `instead_of` names it.
    So the request may be repeated.
    """
    instead_of = parse_serial(asked.instead_of) if asked.instead_of else ""
    with here.transactions.reading() as session:
        order = key_making.order_for(session, asked.person, instead_of)
    return KeyMade.model_validate(key_making.make_one(caller.house, here.house.workshop, order, dry_run=dry_run))


@routes.post("/group", dependencies=[LENGTHY])
def make_for_group(
    asked: GroupKeysAsked, caller: Annotated[Caller, requires(Permission.MAKE_KEYS)], here: Here, *, dry_run: DryRun = False
) -> GroupKeysMade:
    """Make an encryption key for each active person of a group who has none, up to 50 persons at a time.

    As `POST /encryption-keys` for each. One who is refused keeps nobody else from theirs.
    """
    with here.transactions.reading() as session:
        persons = key_making.members_of(session, asked.group, after=asked.after, limit=asked.at_most)
    views = key_making.make_all(caller.house, here.house.workshop, persons, dry_run=dry_run)
    following = persons[-1].upn if len(persons) == asked.at_most else None
    return GroupKeysMade(items=[KeyMade.model_validate(view) for view in views], next=following)
