"""The mail server, the templates of mails, and mails that did not arrive."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

from sqlmodel import select

from notices import listing
from notices.errors import MailServerUnavailable
from pkcs_import.records import ArchivedKey
from signetry.doctor.findings import Finding
from signetry.house import House

_CHECK = "notices"
# The first attempts of a mail that is greylisted, or of all while the server restarts, are no finding.
_WAITS_LONG = timedelta(hours=1)


def notices(house: House) -> Iterator[Finding]:
    """Try the mail server without sending anything, read the operator's own templates, and look for mails given up."""
    for complaint in house.notices.templates.complaints():
        yield Finding(_CHECK, "error", f"templates: {complaint}", "until it is mended, our own words are used")
    yield from _left(house)
    if not house.notices.is_configured:
        yield from _untold(house)
        return
    try:
        with closing(house.notices.client()) as client:
            name = client.check()
    except MailServerUnavailable as error:
        yield Finding(_CHECK, "error", str(error), "docs/notices.md says what it needs; mails are kept meanwhile")
        return
    yield Finding(_CHECK, "ok", f"mails go by {name}, from {house.settings.notices.sender}")


def _left(house: House) -> Iterator[Finding]:
    with house.transactions.reading() as session:
        backlog = listing.backlog(session)
    if backlog.given_up:
        yield Finding(
            _CHECK, "warning", f"mails that were given up: {backlog.given_up}", "signetry notice list --state given-up says why"
        )
    if backlog.oldest is not None and house.clock.now() - backlog.oldest > _WAITS_LONG:
        yield Finding(
            _CHECK,
            "warning",
            f"mails that wait: {backlog.waiting}, the oldest since {backlog.oldest:%Y-%m-%d %H:%M} UTC",
            "signetry notice list says for what",
        )


def _untold(house: House) -> Iterator[Finding]:
    """Find that keys are kept whose owners nobody tells."""
    with house.transactions.reading() as session:
        kept = session.exec(select(ArchivedKey.id).limit(1)).first()
    if kept is not None:
        yield Finding(
            _CHECK,
            "warning",
            "no mail server is configured: persons are not told that their keys are kept",
            "set notices.host and notices.sender (docs/notices.md)",
        )
