"""The six categories every error of ours belongs to.

A room's own exceptions (its ``errors.py``) subclass one of these, and each protocol maps categories to its own answers in one
place: SCEP to failInfo, HTTP to a status, the CLI to an exit code. What is not a ``SignetryError`` is a defect, and a peer learns
nothing of it but a log reference.
"""


class SignetryError(Exception):
    """An expected refusal. Its message is written for the peer: it never holds a secret, a path or a stack trace."""


class BadRequest(SignetryError):
    """What was sent is malformed or breaks its protocol."""


class NotAuthorised(SignetryError):
    """The requester has not shown that it may do this."""


class NotFound(SignetryError):
    """What was asked for does not exist."""


class Conflict(SignetryError):
    """The act contradicts what is already recorded."""


class RefusedByPolicy(SignetryError):
    """Well formed and authorised, and still not allowed by configuration or key policy."""


class Unavailable(SignetryError):
    """Something the act needs is down; the same request may succeed later."""
