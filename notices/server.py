"""What is known of a mail server, and what is asked of a client of one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class MailSecurity(StrEnum):
    """How the connection to the mail server is protected."""

    STARTTLS = "starttls"
    """RFC 3207; a server that does not offer it gets nothing."""
    TLS = "tls"
    """From the first byte (RFC 8314)."""
    NONE = "none"
    """Not at all, to a server on this very machine."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """The server that mails are handed to.

    Attributes:
        host, port: where it listens.
        security: how the connection is protected.
        hello: what this machine calls itself (EHLO, RFC 5321 section 4.1.1.1).
        user: who logs on; nobody where it is empty.
        password: reads the password; it raises SignetryError where it cannot.
        ca_file: the roots that its certificate is judged by; the system's where there is none.
        timeout_seconds: how long one answer may take.
    """

    host: str
    port: int
    security: MailSecurity
    hello: str
    user: str = ""
    password: Callable[[], str] = field(default=str, repr=False)
    ca_file: Path | None = None
    timeout_seconds: int = 20


@dataclass(frozen=True, slots=True)
class OutgoingMail:
    """A mail as a mail server takes it: ``content`` is an Internet message (RFC 5322) with CRLF.

    ``international`` says that an address has letters beyond ASCII before its @, which takes SMTPUTF8 (RFC 6531).
    """

    sender: str
    recipient: str
    content: bytes = field(repr=False)
    international: bool


class MailClient(Protocol):
    """Hands mails to a server; it connects when it is used."""

    def send(self, mail: OutgoingMail) -> None:
        """Hand over a mail; on return the server has taken charge of it.

        Raises:
            MailServerUnavailable: the server itself cannot be used.
            MailDeferred: it does not take this mail now, or nobody knows whether it has.
            MailRefused: it will never take this mail.
        """
        ...

    def check(self) -> str:
        """Connect and log on without sending anything; return what the server calls itself. Raises MailServerUnavailable."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...
