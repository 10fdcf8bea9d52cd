"""``/whoami``: what a token is."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from signetry.access.roles import PERMISSIONS, Permission, Role
from signetry.api.models import Shown, with_examples
from signetry.api.routing import router
from signetry.api.security import Caller, requires
from signetry.api.tokens import ScopeShown

routes = router("/whoami", "This token")


class Oneself(Shown):
    """The caller's token."""

    model_config = with_examples(
        {
            "id": 3,
            "name": "monitoring",
            "role": "auditor",
            "upn": None,
            "permissions": ["know-oneself", "read-audit-events", "read-authorities", "read-certificates", "read-crls"],
            "scope": None,
            "expires_at": "2026-08-30T12:00:00Z",
        }
    )

    id: int
    name: str
    role: Role
    upn: str | None = Field(description="Whose it is, where it belongs to a person.")
    permissions: list[Permission]
    scope: ScopeShown | None = Field(description="What a token of role mdm is limited to.")
    expires_at: datetime


@routes.get("")
def whoami(caller: Annotated[Caller, requires(Permission.KNOW_ONESELF)]) -> Oneself:
    """Say what this token is and may do."""
    token = caller.token
    return Oneself(
        id=token.id,
        name=token.name,
        role=token.role,
        upn=token.upn,
        permissions=sorted(PERMISSIONS[token.role]),
        scope=ScopeShown.of(token.scope),
        expires_at=token.expires_at,
    )
