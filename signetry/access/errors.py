"""Why access is refused."""

from foundation.errors import BadRequest, NotAuthorised, NotFound, RefusedByPolicy


class NotAuthenticated(NotAuthorised):
    """No token, or none that is good: one answer for malformed, unknown, expired and revoked ones."""

    def __init__(self) -> None:
        super().__init__("a valid bearer token is needed")


class RoleRefused(NotAuthorised):
    """The token is good, and its role may not do this."""


class InvalidToken(BadRequest):
    """What a new token is to be breaks a rule of its role."""


class UnknownToken(NotFound):
    """There is no token of this number."""


class DutiesNotSeparate(RefusedByPolicy):
    """One administrator, or one person, would have both an officer's and a recovery agent's token in hand."""


class InvalidKey(BadRequest):
    """The Idempotency-Key is empty, too long, or not of visible ASCII characters."""


class KeyReused(RefusedByPolicy):
    """The Idempotency-Key came with another request before (draft-ietf-httpapi-idempotency-key-header section 2.7: 422)."""
