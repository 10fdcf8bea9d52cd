"""What an observer is told of the work at an endpoint: counts and durations for whoever measures; nothing depends on it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ca.authorisation import ProfileName
from scep.errors import FailInfo


class Outcome(StrEnum):
    """What became of a PKIOperation."""

    ISSUED = "issued"
    # An identical retry, which got the same certificate again.
    REPLAYED = "replayed"
    # A certificate or a CRL that is on record was given (GetCert, GetCRL).
    ANSWERED = "answered"
    # The request waits for somebody's decision, or for a key.
    PENDING = "pending"
    REFUSED = "refused"
    # The requester was here too often.
    LIMITED = "limited"
    # Something the request needed was down; the client is asked to come again.
    UNAVAILABLE = "unavailable"
    # A defect of ours.
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a PKIOperation ended. ``profile`` is the certificate's, ``fail_info`` what the client of a refusal is told."""

    outcome: Outcome
    profile: ProfileName | None = None
    fail_info: FailInfo | None = None


class ScepObserver(Protocol):
    """Who is told. Called in the thread that answers: it must be quick, and must not raise."""

    def requested(self, endpoint: str, operation: str) -> None:
        """Note an operation, by its name in RFC 8894, asked of a configured endpoint."""
        ...

    def ended(self, endpoint: str, ending: Ending, seconds: float) -> None:
        """Note the end of a PKIOperation and how long it took."""
        ...


class Unobserved:
    """Nobody."""

    def requested(self, endpoint: str, operation: str) -> None:
        """Note nothing."""

    def ended(self, endpoint: str, ending: Ending, seconds: float) -> None:
        """Note nothing."""
