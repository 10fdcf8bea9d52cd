"""Who takes part in what needs two, shown by an API token: the same for the API, for commands and for the archive process.

Roles keep the duties apart (``access/roles.py``: administrators have neither), and ``access/tokens.py`` sees to it that no person
and no administrator has both roles' tokens. What the two may do with each other's requests is for ``pkcs_import.recovery``.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlmodel import Session

from audit.log import Actor
from ca.authorisation import PersonId
from pkcs_import.recovery import Duty, Participant
from signetry.access import tokens
from signetry.access.errors import RoleRefused, UnknownToken
from signetry.access.roles import PERMISSIONS, Permission, roles_with
from signetry.access.tokens import TokenRecord

# What the role of a token must have for what was done with it to stand.
_OF_DUTY: Final[Mapping[Duty, Permission]] = {
    Duty.ASKING: Permission.ASK_FOR_RECOVERY,
    Duty.DECIDING: Permission.DECIDE_ON_RECOVERY,
}


def participant(session: Session, presented: str, duty: Duty, *, origin: str = "local", now: datetime) -> Participant:
    """Return the person whose token ``presented`` is; the actor is named as in the API, ``token:NUMBER:NAME``.

    Args:
        session: any.
        presented: the token, as it was made.
        duty: what it is to be used for.
        origin: from where it was presented, for the audit record.
        now: the time.

    Raises:
        NotAuthenticated: it is no token that is in force, or its person is not active.
        RoleRefused: its role does not do this, or it is no person's.
    """
    return bearer(tokens.authenticate(session, presented, now=now), duty, origin=origin)


def bearer(token: TokenRecord, duty: Duty, *, origin: str) -> Participant:
    """Return the person whose token this is, which has been authenticated. Raises RoleRefused as ``participant`` does."""
    if token.person_id is None or not _does(token, duty):
        allowed = ", ".join(roles_with(_OF_DUTY[duty]))
        raise RoleRefused(f"a token of role {token.role} may not do this; it takes a named person's of role {allowed}")
    return Participant(PersonId(token.person_id), token.id, Actor(f"token:{token.id}:{token.name}", origin=origin))


def in_office(session: Session, duty: Duty, person: PersonId, token: int, now: datetime) -> bool:
    """Say whether the token of this number is in force, is this person's, and is for this duty (``recovery.InOffice``)."""
    try:
        found = tokens.get_token(session, token)
    except UnknownToken:
        return False
    return found.is_good(now) and found.person_id == person and _does(found, duty)


def _does(token: TokenRecord, duty: Duty) -> bool:
    return _OF_DUTY[duty] in PERMISSIONS[token.role]
