"""Bearer tokens: made for one role and a limited time, shown once, kept as a digest.

A token is ``sgt_NUMBER_SECRET``: the number of its row, and 256 random bits in 43 characters of URL-safe base64. The prefix lets
scanners of repositories and logs find a token that got where it should not be. Only the SHA-256 of the secret is stored: a secret
of 256 bits needs no slow hash.

Rules (design.md section 5): officers and recovery agents are named persons; neither one person nor one administrator has both an
officer's and a recovery agent's token in hand. Who administrates is told by lineage, see ``administrator_behind``.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Row, Select, bindparam, insert, or_, select, text, update
from sqlmodel import Session

from audit import log
from audit.log import Actor, Event
from foundation.tables import table_of
from people.records import Person
from signetry.access.errors import DutiesNotSeparate, InvalidToken, NotAuthenticated, UnknownToken
from signetry.access.records import ApiToken
from signetry.access.roles import Role

DEFAULT_LIFETIME = timedelta(days=90)
LONGEST_LIFETIME = timedelta(days=366)
LONGEST_NAME = 100
MOST_IN_SCOPE = 100
MAX_PAGE = 1000
# How precisely the record tells when a token was last used: a write for every request would cost more than it tells.
LAST_USE_WITHIN = timedelta(minutes=5)

_SECRET_BYTES = 32
_TEXT = re.compile(r"sgt_([1-9][0-9]{0,9})_([A-Za-z0-9_-]{43})", re.ASCII)
_MOST = 2**31 - 1
# Roles whose tokens belong to named persons; who holds one of them must not hold, or have made, the other.
_SEPARATE = {Role.OFFICER: Role.RECOVERY, Role.RECOVERY: Role.OFFICER}

_TOKEN = table_of(ApiToken)
_PERSON = table_of(Person)


@dataclass(frozen=True, slots=True)
class Scope:
    """What an ``mdm`` token is limited to; whatever lies outside does not exist for it."""

    endpoints: frozenset[str]
    profiles: frozenset[str]
    group: str


@dataclass(frozen=True, slots=True)
class TokenOrder:
    """What token to make: ``person`` is whose it is, ``scope`` what an ``mdm`` token is limited to."""

    name: str
    role: Role
    lifetime: timedelta = DEFAULT_LIFETIME
    person: int | None = None
    scope: Scope | None = None


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token as recorded: everything but the token."""

    id: int
    name: str
    role: Role
    person_id: int | None
    upn: str | None
    administrator: str
    scope: Scope | None
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None

    def is_good(self, now: datetime) -> bool:
        """Say whether it is neither revoked nor expired."""
        return self.revoked_at is None and now < self.expires_at


_SELECTED: Select[tuple[object, ...]] = select(_TOKEN, _PERSON.c.upn, _PERSON.c.active).join_from(
    _TOKEN, _PERSON, _PERSON.c.id == _TOKEN.c.person_id, isouter=True
)
_BY_ID = _SELECTED.where(_TOKEN.c.id == bindparam("token"))


def create(session: Session, order: TokenOrder, *, administrator: str, actor: Actor, now: datetime) -> tuple[TokenRecord, str]:
    """Make a token; return its record and, for the only time, the token itself.

    Args:
        session: a writing one.
        order: what to make.
        administrator: who stands behind it, as ``administrator_behind`` or the command line says.
        actor: for the audit record.
        now: the time.

    Raises:
        InvalidToken: the order breaks a rule of its role.
        DutiesNotSeparate: the person, or the administrator, has the other one of officer and recovery agent.
    """
    _check(order, session)
    if order.role in _SEPARATE:
        _keep_duties_separate(session, order, administrator, now)
    secret = base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).rstrip(b"=").decode()
    scope = order.scope
    row = {
        "name": order.name.strip(),
        "role": order.role.value,
        "digest": digest(secret),
        "person_id": order.person,
        "administrator": administrator,
        "endpoints": sorted(scope.endpoints) if scope else [],
        "profiles": sorted(scope.profiles) if scope else [],
        "group_name": scope.group if scope else None,
        "created_at": now,
        "expires_at": now + order.lifetime,
    }
    number = session.execute(insert(_TOKEN).values(row).returning(_TOKEN.c.id)).scalar_one()
    made = get_token(session, number)
    details: dict[str, object] = {
        "name": made.name,
        "role": made.role.value,
        "person": made.person_id,
        "administrator": administrator,
        "expires_at": made.expires_at.isoformat(),
    }
    if scope:
        details |= {"endpoints": sorted(scope.endpoints), "profiles": sorted(scope.profiles), "group": scope.group}
    log.record(session, Event(actor, "token.created", f"token:{number}", details=details), now=now)
    return made, f"sgt_{number}_{secret}"


def digest(secret: str) -> str:
    """Return the SHA-256 of a token's secret, in hex, as the table keeps it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def split(presented: str) -> tuple[int, str] | None:
    """Return the number and the secret of a token, None when the text has not a token's shape."""
    match = _TEXT.fullmatch(presented)
    if match is None or int(match[1]) > _MOST:
        return None
    return int(match[1]), match[2]


def authenticate(session: Session, presented: str, *, now: datetime) -> TokenRecord:
    """Return the token that ``presented`` is.

    Raises:
        NotAuthenticated: it is malformed, unknown, expired, revoked or a deactivated person's; the message never says which.
    """
    parts = split(presented)
    if parts is None:
        raise NotAuthenticated
    number, secret = parts
    row = session.execute(_BY_ID, {"token": number}).one_or_none()
    if row is None or not hmac.compare_digest(row.digest, digest(secret)):
        raise NotAuthenticated
    found = _record(row)
    if not found.is_good(now) or row.active is False:
        raise NotAuthenticated
    return found


def administrator_behind(token: TokenRecord) -> str:
    """Return who acts when an administrator's token makes another token.

    An administrator's token that the command line made is an administrator of its own: whoever it was handed to. One that another
    token made stands for the same administrator as that one, or two tokens would make two people of one.
    """
    return token.administrator if token.administrator.startswith("token:") else f"token:{token.id}"


def revoke(session: Session, token_id: int, *, actor: Actor, now: datetime) -> TokenRecord:
    """End a token at once; one that is revoked already stays as it is.

    Raises:
        UnknownToken: there is none of this number.
    """
    found = _one(session, _BY_ID.with_for_update(of=_TOKEN), token_id)
    if found.revoked_at is not None:
        return found
    session.execute(update(_TOKEN).where(_TOKEN.c.id == token_id).values(revoked_at=now))
    details = {"name": found.name, "role": found.role.value}
    log.record(session, Event(actor, "token.revoked", f"token:{token_id}", details=details), now=now)
    return replace(found, revoked_at=now)


def get_token(session: Session, token_id: int) -> TokenRecord:
    """Return the token of this number. Raises UnknownToken."""
    return _one(session, _BY_ID, token_id)


def list_tokens(
    session: Session, *, now: datetime, good: bool | None = None, after: int = 0, limit: int = MAX_PAGE
) -> Sequence[TokenRecord]:
    """Return tokens in the order of their making.

    Args:
        session: any.
        now: the time.
        good: only those that are neither revoked nor expired, or only the others; None for all.
        after: the number of the last one that was seen.
        limit: how many at most.
    """
    query = _SELECTED.where(_TOKEN.c.id > after).order_by(_TOKEN.c.id).limit(limit)
    if good is not None:
        query = query.where(_is_good(now) if good else or_(_TOKEN.c.revoked_at.is_not(None), _TOKEN.c.expires_at <= now))
    return [_record(row) for row in session.execute(query)]


def is_use_worth_noting(token: TokenRecord, now: datetime) -> bool:
    """Say whether the record of the last use is so old that ``note_use`` should renew it."""
    return token.last_used_at is None or now - token.last_used_at >= LAST_USE_WITHIN


def note_use(session: Session, token_id: int, *, now: datetime) -> None:
    """Record that a token was used just now."""
    session.execute(update(_TOKEN).where(_TOKEN.c.id == token_id).values(last_used_at=now))


def _is_good(now: datetime) -> ColumnElement[bool]:
    return _TOKEN.c.revoked_at.is_(None) & (_TOKEN.c.expires_at > now)


def _check(order: TokenOrder, session: Session) -> None:
    if not 0 < len(order.name.strip()) <= LONGEST_NAME or not order.name.isprintable():
        raise InvalidToken(f"a token has a name of up to {LONGEST_NAME} printable characters, which says who uses it")
    if not timedelta(0) < order.lifetime <= LONGEST_LIFETIME:
        raise InvalidToken(f"a token lives up to {LONGEST_LIFETIME.days} days")
    if order.role in _SEPARATE and order.person is None:
        raise InvalidToken(f"a token of role {order.role} is a named person's: say whose")
    if order.person is not None:
        _require_person(session, order.person)
    if (order.role is Role.MDM) != (order.scope is not None):
        raise InvalidToken("endpoints, profiles and a group are what a token of role mdm, and no other, is limited to")
    scope = order.scope
    if scope and not (scope.endpoints and scope.profiles and scope.group):
        raise InvalidToken("a token of role mdm names endpoints, profiles and a group")
    if scope and max(len(scope.endpoints), len(scope.profiles)) > MOST_IN_SCOPE:
        raise InvalidToken(f"a token names up to {MOST_IN_SCOPE} endpoints and profiles")


def _require_person(session: Session, person: int) -> None:
    # The row is held, so that of two tokens made for one person at the same moment the second sees the first.
    active = session.execute(select(_PERSON.c.active).where(_PERSON.c.id == person).with_for_update()).scalar_one_or_none()
    if not active:
        raise InvalidToken("a token is made for a person who is recorded and active")


def _keep_duties_separate(session: Session, order: TokenOrder, administrator: str, now: datetime) -> None:
    if session.get_bind().dialect.name == "postgresql":
        # An administrator from the command line has no row to hold. Readers are not held up.
        session.execute(text("LOCK TABLE api_token IN SHARE ROW EXCLUSIVE MODE"))
    other = _SEPARATE[order.role]
    of_other_role = select(_TOKEN.c.id).where(_TOKEN.c.role == other.value).limit(1)
    if session.execute(of_other_role.where(_TOKEN.c.person_id == order.person, _is_good(now))).first():
        raise DutiesNotSeparate(f"this person holds a token of role {other}; nobody holds both")
    # Also where that token has been revoked since: meanwhile its copy may have been used.
    if session.execute(of_other_role.where(_TOKEN.c.administrator == administrator)).first():
        raise DutiesNotSeparate(
            f"this administrator has made a token of role {other}: one of role {order.role} takes another one"
        )


def _one(session: Session, query: Select[tuple[object, ...]], token_id: int) -> TokenRecord:
    row = session.execute(query, {"token": token_id}).one_or_none() if 0 < token_id <= _MOST else None
    if row is None:
        raise UnknownToken(f"there is no token {token_id}")
    return _record(row)


def _record(row: Row[tuple[object, ...]]) -> TokenRecord:
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    scope = None
    if values["role"] == Role.MDM:
        scope = Scope(frozenset(values["endpoints"]), frozenset(values["profiles"]), values["group_name"] or "")
    return TokenRecord(
        id=values["id"],
        name=values["name"],
        role=Role(values["role"]),
        person_id=values["person_id"],
        upn=values["upn"],
        administrator=values["administrator"],
        scope=scope,
        created_at=values["created_at"],
        expires_at=values["expires_at"],
        revoked_at=values["revoked_at"],
        last_used_at=values["last_used_at"],
    )
