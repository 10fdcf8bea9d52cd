"""A mail as an Internet message (RFC 5322, MIME): pure, and the same bytes whenever the same mail is built.

That a mail which may have been sent already is sent again under its own Message-ID lets mail servers and mailboxes know it.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from notices.rendering import Words, one_line
from notices.server import OutgoingMail

_PKCS12 = ("application", "x-pkcs12")


@dataclass(frozen=True, slots=True)
class Letterhead:
    """Who writes: the address mails come from, the name beside it, and where answers go, the sender's where it is empty."""

    sender: str
    name: str
    reply_to: str = ""


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail's own part.

    Attributes:
        number, owed_at: of its row; together they make the Message-ID, since a database may give a number again.
        address, name: the recipient's; ``name`` may be empty.
        words: subject and text.
        attachment, attachment_name: a PKCS #12 file that goes with it.
    """

    number: int
    owed_at: datetime
    address: str
    name: str
    words: Words
    attachment: bytes | None = field(default=None, repr=False)
    attachment_name: str = ""


def build(head: Letterhead, letter: Letter) -> OutgoingMail:
    """Return the mail as it is handed to a server."""
    international = not (head.sender.isascii() and letter.address.isascii() and head.reply_to.isascii())
    # 7bit: what is beyond ASCII in the text is encoded, so that every server takes it.
    written = (policy.SMTPUTF8 if international else policy.SMTP).clone(cte_type="7bit")
    identity = _identity(letter)
    message = EmailMessage(policy=written)
    message["From"] = _address(head.sender, head.name)
    message["To"] = _address(letter.address, letter.name)
    if head.reply_to:
        message["Reply-To"] = _address(head.reply_to, "")
    message["Subject"] = one_line(letter.words.subject)
    message["Date"] = format_datetime(letter.owed_at.astimezone(UTC))
    message["Message-ID"] = f"<notice-{letter.number}.{identity}@{head.sender.rpartition('@')[2]}>"
    # Absence notes are not to come back (RFC 3834 section 5; Exchange goes by a header of its own).
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message.set_content(letter.words.text)
    if letter.attachment is not None:
        maintype, subtype = _PKCS12
        message.add_attachment(letter.attachment, maintype=maintype, subtype=subtype, filename=letter.attachment_name)
        message.set_boundary(f"=_{identity}")
    # Last: what has become of the content takes its own headers along.
    message["Content-Language"] = letter.words.language
    return OutgoingMail(
        sender=head.sender, recipient=letter.address, content=message.as_bytes(policy=written), international=international
    )


def _identity(letter: Letter) -> str:
    named = f"{letter.number} {letter.owed_at.astimezone(UTC).isoformat()} {letter.address}"
    return hashlib.sha256(named.encode()).hexdigest()[:32]


def _address(address: str, name: str) -> Address:
    local, _, domain = address.rpartition("@")
    return Address(one_line(name), local, domain)
