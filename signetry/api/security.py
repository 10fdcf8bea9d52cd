"""Who calls, and whether they may: decided before anything of the request's body is read.

Each route takes its caller as ``caller: Annotated[Caller, requires(Permission.X)]``, exactly once; ``app.api_app`` refuses to
start with a route that does not. ``ApiRoute`` finds the requirement and holds the request to it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.security.utils import get_authorization_scheme_param
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from audit.log import Actor
from foundation.errors import SignetryError
from signetry.access import tokens
from signetry.access.errors import NotAuthenticated, RoleRefused
from signetry.access.roles import PERMISSIONS, Permission, Role, roles_with
from signetry.access.tokens import Scope as TokenScope
from signetry.access.tokens import TokenRecord
from signetry.api.context import Context, context
from signetry.house import House

# Where a request's caller stands in its ASGI scope: for the handler, and for who looks when the request is answered.
CALLER = "signetry.caller"

_log = structlog.get_logger("signetry.api")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the token, and the house in which its bearer acts.

    ``actor`` of the house, and so of every audit event, is ``token:NUMBER:NAME`` from the client's address. ``secret`` is the
    token's, for sealing what only its bearer may read again.
    """

    token: TokenRecord
    house: House = field(repr=False)
    secret: str = field(repr=False)

    @property
    def actor(self) -> Actor:
        """The caller as the audit record names them."""
        return self.house.actor

    @property
    def role(self) -> Role:
        """The token's role."""
        return self.token.role

    @property
    def scope(self) -> TokenScope | None:
        """What a token of role ``mdm`` is limited to; None for the other roles. What lies outside answers as if absent."""
        return self.token.scope

    @property
    def presented(self) -> str:
        """The token as it was presented, for who authenticates it once more by themselves."""
        return f"sgt_{self.token.id}_{self.secret}"

    @property
    def administrator(self) -> str:
        """Who stands behind tokens that the caller makes."""
        return tokens.administrator_behind(self.token)

    def may(self, permission: Permission) -> bool:
        """Say whether the caller's role has ``permission``."""
        return permission in PERMISSIONS[self.role]

    def require(self, permission: Permission) -> None:
        """Return if the caller's role has ``permission``. Raises RoleRefused."""
        if not self.may(permission):
            allowed = ", ".join(roles_with(permission))
            raise RoleRefused(f"a token of role {self.role} may not do this; it takes one of: {allowed}")


@dataclass(frozen=True, slots=True)
class Requirement:
    """The dependency behind ``requires``: what a route asks of its caller."""

    permission: Permission

    async def __call__(self, request: Request) -> Caller:
        """Return the caller whom ``ApiRoute`` let in."""
        caller: Caller = request.scope[CALLER]
        return caller


def requires(permission: Permission) -> Any:  # noqa: ANN401 - what Annotated takes
    """Return the dependency that lets in who has ``permission``, and gives the handler its ``Caller``."""
    return Depends(Requirement(permission))


def requirements(dependant: Dependant) -> Iterator[Requirement]:
    """Find the requirements of a route."""
    for dependency in dependant.dependencies:
        if isinstance(dependency.call, Requirement):
            yield dependency.call
        yield from requirements(dependency)


def admit(request: Request, permission: Permission) -> None:
    """Note who calls in the request's scope, and return if they may. Blocks on the database: not for the event loop.

    Raises:
        NotAuthenticated: there is no good token.
        RoleRefused: the token's role does not have ``permission``.
    """
    here = context(request)
    presented = _presented(request)
    now = here.now()
    with here.transactions.reading() as session:
        token = tokens.authenticate(session, presented, now=now)
    _, _, secret = presented.split("_", 2)
    actor = Actor(f"token:{token.id}:{token.name}", origin=request.client.host if request.client else "")
    caller = Caller(token, here.house.acting_as(actor), secret)
    request.scope[CALLER] = caller
    caller.require(permission)


def _presented(request: Request) -> str:
    headers = request.headers.getlist("authorization")
    # Two headers are two answers to the question who calls.
    if len(headers) != 1:
        raise NotAuthenticated
    scheme, presented = get_authorization_scheme_param(headers[0])
    if scheme.lower() != "bearer":
        raise NotAuthenticated
    return presented


class NotingUse:
    """Around the application: records when a token was last used, once the request that used it is answered."""

    def __init__(self, app: ASGIApp, here: Context) -> None:
        self._app = app
        self._here = here

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._app(scope, receive, send)
        caller: Caller | None = scope.get(CALLER)
        now = self._here.now()
        if caller is not None and tokens.is_use_worth_noting(caller.token, now):
            await run_in_threadpool(self._note, caller.token, now)

    def _note(self, token: TokenRecord, now: datetime) -> None:
        try:
            self._here.transactions.write(lambda session: tokens.note_use(session, token.id, now=now))
        except SignetryError as error:
            # The request has been answered, and the next one tries again.
            _log.warning("the last use of a token could not be noted", number=token.id, reason=str(error))
