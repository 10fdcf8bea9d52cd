"""What can go wrong with a mail: of its own, of its recipient, or of the mail server."""

from foundation.errors import BadRequest, Conflict, NotFound, RefusedByPolicy, Unavailable


class UnknownTemplate(NotFound):
    """No mail is known under this name."""


class BadNotice(BadRequest):
    """A mail lacks a value of its template, has one too many, or is larger than mails may be."""


class BadTemplate(BadRequest):
    """A template cannot be used as it is written; the message names its file and what is wrong."""


class UnknownNotice(NotFound):
    """There is no mail of this number."""


class NothingToSend(Conflict):
    """The mail has been sent, or its words are gone: it cannot be sent again."""


class NoticesNotConfigured(RefusedByPolicy):
    """No mail server is configured, and the act needs one."""


class MailServerUnavailable(Unavailable):
    """The mail server itself cannot be used now: unreachable, not trusted, no log-on, sender refused, or busy."""


class MailDeferred(Unavailable):
    """The server does not take this mail now, and may later: a reply 4yz (RFC 5321 section 4.2.1)."""


class MailRefused(RefusedByPolicy):
    """The server will never take this mail: a reply 5yz, or it lacks an extension that the mail needs."""
