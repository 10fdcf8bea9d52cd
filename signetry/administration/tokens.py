"""Making tokens, as an administrator describes them: persons, endpoints and groups by name."""

from dataclasses import dataclass, field
from datetime import timedelta

from sqlmodel import Session

from foundation.errors import RefusedByPolicy
from people.groups import get_group
from people.persons import person_named
from signetry.access import tokens
from signetry.access.roles import Role
from signetry.access.tokens import DEFAULT_LIFETIME, Scope, TokenOrder, TokenRecord
from signetry.house import House


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What is wanted: ``person`` as an administrator names one, empty for none; the last three for role ``mdm``."""

    name: str
    role: Role
    lifetime: timedelta = DEFAULT_LIFETIME
    person: str = ""
    endpoints: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A token in the clear, for the only time, and its record."""

    text: str = field(repr=False)
    record: TokenRecord


def make(session: Session, house: House, request: TokenRequest, *, administrator: str) -> MadeToken:
    """Make a token in the session's transaction; ``administrator`` is who stands behind it.

    Raises:
        UnknownEndpoint, UnknownGroup, UnknownPerson: there is none of this name.
        RefusedByPolicy: none of the endpoints issues one of the profiles.
        InvalidToken, DutiesNotSeparate: as ``access.tokens.create`` says.
    """
    person = person_named(session, request.person).id if request.person else None
    order = TokenOrder(request.name, request.role, request.lifetime, person, _scope(session, house, request))
    record, text = tokens.create(session, order, administrator=administrator, actor=house.actor, now=house.clock.now())
    return MadeToken(text, record)


def _scope(session: Session, house: House, request: TokenRequest) -> Scope | None:
    if not (request.endpoints or request.profiles or request.group):
        return None
    issued = {str(profile) for name in request.endpoints for profile in house.endpoint(name).profiles}
    for profile in request.profiles:
        # A misspelt profile would otherwise be found by the first phone.
        if profile not in issued:
            raise RefusedByPolicy(f"profile {profile} is issued by none of the endpoints that the token names")
    group = get_group(session, request.group).name if request.group else ""
    return Scope(frozenset(request.endpoints), frozenset(request.profiles), group)
