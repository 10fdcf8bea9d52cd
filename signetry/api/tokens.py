"""``/tokens``: bearer tokens, made and revoked by administrators, listed by auditors too."""

from datetime import datetime, timedelta
from typing import Annotated, Self

from fastapi import Path, Query, Response
from pydantic import Field
from sqlmodel import Session

from signetry.access import tokens
from signetry.access.roles import Permission, Role
from signetry.access.tokens import DEFAULT_LIFETIME, LONGEST_LIFETIME, LONGEST_NAME, MOST_IN_SCOPE, Scope, TokenRecord
from signetry.administration.tokens import TokenRequest, make
from signetry.api.context import Here
from signetry.api.idempotency import Once
from signetry.api.models import WHOLE, Asked, Number, Shown, with_examples
from signetry.api.paging import InPages, Page
from signetry.api.routing import router
from signetry.api.security import Caller, requires

routes = router("/tokens", "Tokens")

_SHOWN = {
    "id": 7,
    "name": "jamf",
    "role": "mdm",
    "upn": None,
    "administrator": "token:1",
    "scope": {"endpoints": ["default"], "profiles": ["identity"], "group": "phones"},
    "created_at": "2026-06-01T12:00:00Z",
    "expires_at": "2026-08-30T12:00:00Z",
    "revoked_at": None,
    "last_used_at": None,
}

Text = Annotated[str, Field(max_length=LONGEST_NAME)]


class ScopeShown(Shown):
    """What a token of role mdm is limited to."""

    endpoints: list[str]
    profiles: list[str]
    group: str

    @classmethod
    def of(cls, scope: Scope | None) -> Self | None:
        """Return how a scope is shown."""
        if scope is None:
            return None
        return cls(endpoints=sorted(scope.endpoints), profiles=sorted(scope.profiles), group=scope.group)


class TokenShown(Shown):
    """A token as recorded; the token itself is shown when it is made, and never again."""

    model_config = with_examples(_SHOWN)

    id: int
    name: str
    role: Role
    upn: str | None = Field(description="Whose it is, where it belongs to a person.")
    administrator: str = Field(description="Who stands behind its making.")
    scope: ScopeShown | None
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="When it was last used, to within five minutes.")

    @classmethod
    def of(cls, token: TokenRecord) -> Self:
        """Return how a token is shown."""
        return cls(
            id=token.id,
            name=token.name,
            role=token.role,
            upn=token.upn,
            administrator=token.administrator,
            scope=ScopeShown.of(token.scope),
            created_at=token.created_at,
            expires_at=token.expires_at,
            revoked_at=token.revoked_at,
            last_used_at=token.last_used_at,
        )


class NewToken(TokenShown):
    """A token just made."""

    model_config = with_examples({**_SHOWN, "token": "sgt_7_0000000000000000000000000000000000000000000"})

    token: str = Field(repr=False, description="The token. It is shown now and never again.")


class TokenAsked(Asked):
    """What token to make."""

    model_config = with_examples(
        {"name": "monitoring", "role": "auditor"},
        {"name": "Olga", "role": "officer", "upn": "olga@example.com", "lifetime_days": 30},
        {"name": "jamf", "role": "mdm", "endpoints": ["default"], "profiles": ["identity"], "group": "phones"},
    )

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, description="Who or what uses it.")]
    role: Role
    upn: Annotated[str, Field(max_length=320, description="Whose it is; officers and recovery agents are named persons.")] = ""
    lifetime_days: Annotated[int, Field(ge=1, le=LONGEST_LIFETIME.days), WHOLE] = DEFAULT_LIFETIME.days
    endpoints: Annotated[tuple[Text, ...], Field(max_length=MOST_IN_SCOPE, description="For role mdm, and required there.")] = ()
    profiles: Annotated[tuple[Text, ...], Field(max_length=MOST_IN_SCOPE, description="For role mdm, and required there.")] = ()
    group: Annotated[str, Field(max_length=100, description="For role mdm, and required there.")] = ""


@routes.post("", status_code=201, response_model=NewToken)
def create(asked: TokenAsked, caller: Annotated[Caller, requires(Permission.CHANGE_TOKENS)], once: Once) -> Response:
    """Make a token. It is shown in this answer and never again.

    One administrator does not make tokens of both `officer` and `recovery`, and nobody holds both.
    """
    request = TokenRequest(
        asked.name,
        asked.role,
        timedelta(days=asked.lifetime_days),
        asked.upn,
        asked.endpoints,
        asked.profiles,
        asked.group,
    )

    def act(session: Session) -> NewToken:
        made = make(session, caller.house, request, administrator=caller.administrator)
        return NewToken(**TokenShown.of(made.record).model_dump(), token=made.text)

    return once.answer(act)


@routes.get("")
def list_all(
    _caller: Annotated[Caller, requires(Permission.READ_TOKENS)],
    here: Here,
    paging: InPages,
    good: Annotated[bool | None, Query(description="Only those in force, or only the others.")] = None,
) -> Page[TokenShown]:
    """List tokens in the order of their making."""
    (after,) = paging.after(int) or (0,)
    with here.transactions.reading() as session:
        found = tokens.list_tokens(session, now=here.now(), good=good, after=after, limit=paging.one_more)
    return paging.page(found, lambda token: (token.id,), TokenShown.of)


@routes.get("/{token_id}")
def show(
    _caller: Annotated[Caller, requires(Permission.READ_TOKENS)], here: Here, token_id: Annotated[Number, Path()]
) -> TokenShown:
    """Show a token's record."""
    with here.transactions.reading() as session:
        return TokenShown.of(tokens.get_token(session, token_id))


@routes.post("/{token_id}/revoke")
def revoke(
    caller: Annotated[Caller, requires(Permission.CHANGE_TOKENS)], here: Here, token_id: Annotated[Number, Path()]
) -> TokenShown:
    """End a token at once. One that is revoked already stays as it is."""
    house = caller.house
    return TokenShown.of(
        house.transactions.write(lambda session: tokens.revoke(session, token_id, actor=caller.actor, now=here.now()))
    )
