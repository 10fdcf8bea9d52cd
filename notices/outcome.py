"""What became of a mail, as those are told whose affair it is: the room itself knows nothing of what mails belong to."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlmodel import Session


@dataclass(frozen=True, slots=True)
class Outcome:
    """A mail was sent, or is not tried any more, as listeners see it: before the commit.

    Attributes:
        notice: the mail's number.
        reference: what it belongs to, as ``notices.outbox.Notice`` was given it.
        is_sent: whether the mail server has taken it; it was given up otherwise.
        unsent: how many mails of the reference have not been sent, whether owed or given up.
    """

    notice: int
    reference: str
    is_sent: bool
    unsent: int


OutcomeListener = Callable[[Session, Outcome], None]
