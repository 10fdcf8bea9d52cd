"""Keys that are made here: whether their CA is there, and whether they are renewed in time."""

from collections.abc import Iterator
from datetime import timedelta

from ca.authorisation import CaName
from ca.lineage import lineages_of
from pkcs_import import renewing
from pkcs_import.keeping import is_anything_archived
from signetry.doctor.findings import Finding
from signetry.house import House

_COUNTED = 1000


def made_keys(house: House) -> Iterator[Finding]:
    """Look at what makes keys, and at what it should have made by now."""
    settings = house.settings.archive
    with house.transactions.reading() as session:
        is_there = bool(lineages_of(session, [CaName(settings.issuing_ca)]))
        is_needed = is_anything_archived(session)
        # Half of the time that there was for it.
        late = len(renewing.due(session, house.clock.now(), timedelta(days=settings.renew_before / 2), limit=_COUNTED))
    if not is_there:
        finding = f"archive.issuing_ca names {settings.issuing_ca!r}, which does not exist: no key can be made for anybody"
        advice = "set it to one of those that signetry ca list shows"
        yield Finding("made-keys", "error" if is_needed else "warning", finding, advice)
    if late:
        finding = f"{late if late < _COUNTED else f'{_COUNTED} or more'} certificates made here end soon, and are not renewed"
        yield Finding("made-keys", "warning", finding, "the worker renews them: its log says what keeps it")
