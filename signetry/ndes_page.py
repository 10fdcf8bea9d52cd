"""The pages of NDES's ``mscep_admin`` as those who scrape them expect: the sentences, the marks, the encoding.

What is known to look at them: a regular expression over "The enrollment challenge password is: <B> … </B>" (Fleet, Zentral), the
first word of sixteen or more hexadecimal digits (PowerShell scripts), "The password cache is full." All read UTF-16, which
Windows writes without a byte order mark.
"""

from collections.abc import Sequence
from html import escape

CONTENT_TYPE = "text/html; charset=UTF-16LE"
_GROUP = 8


def password_page(thumbprint: str, password: str, minutes: int) -> bytes:
    """Return the page that shows a password; ``thumbprint`` is the CA certificate's, in hex."""
    # In groups shorter than any password: for it a script takes the first long word.
    groups = " ".join(thumbprint[at : at + _GROUP] for at in range(0, len(thumbprint), _GROUP)).upper()
    return _page(
        "To complete certificate enrollment for your network device you will need the following information:",
        f"The thumbprint (hash value) for the CA certificate is: <B> {groups} </B>",
        f"The enrollment challenge password is: <B> {escape(password)} </B>",
        f"This password can be used only once and will expire within {minutes} minutes.",
        "Each enrollment requires a new challenge password. You can refresh this web page to obtain a new challenge password.",
    )


def full_page(minutes: int) -> bytes:
    """Return the page for whoever has too many unused passwords."""
    return _page(
        "The password cache is full.",
        f"Unused passwords are stored for later use. They expire {minutes} minutes after they were handed out.",
    )


def refused_page(reason: str) -> bytes:
    """Return the page for whoever may not have a password."""
    return _page("You do not have sufficient permission to enroll with SCEP.", escape(reason))


def problem_page(reason: str) -> bytes:
    """Return the page for a request that cannot be answered."""
    return _page(escape(reason))


def form_page(profiles: Sequence[str]) -> bytes:
    """Return the page that asks for whom a password is to be."""
    options = "".join(f"<OPTION>{escape(profile)}</OPTION>" for profile in profiles)
    return _page(
        "A password here belongs to one person or device on record: say whose it is to be.",
        "A program says it in the address: ?upn=alice@example.com, ?device=NAME, ?profile=NAME.",
        '<FORM Method="get">'
        '<LABEL>Person (UPN or mail address) <INPUT Name="upn"></LABEL> '
        '<LABEL>Device (name) <INPUT Name="device"></LABEL> '
        f'<LABEL>Profile <SELECT Name="profile">{options}</SELECT></LABEL> '
        "<BUTTON>Obtain a password</BUTTON></FORM>",
    )


def _page(*paragraphs: str) -> bytes:
    text = " ".join(f"<P> {paragraph} </P>" for paragraph in paragraphs)
    title = "Network Device Enrollment Service"
    return f"<HTML><Head><Title>{title}</Title></Head><Body><H1>{title}</H1> {text}</Body></HTML>".encode("utf-16-le")
