"""The CRLs, and the worker that makes them."""

from collections.abc import Iterator
from datetime import timedelta

from sqlmodel import Session

from ca import hierarchy
from ca.hierarchy import AuthorityRecord
from crl import publication
from signetry.doctor.findings import Finding
from signetry.house import House

# A worker looks five times a second, and a lease that its worker did not live to settle lapses after 30 seconds.
_WORKER_IS_LATE = timedelta(minutes=2)


def crls(house: House) -> Iterator[Finding]:
    """Look at the CRL of every authority, and whether the worker keeps up."""
    with house.transactions.reading() as session:
        for record in hierarchy.authorities(session):
            if record.is_ours and publication.is_needed(session, record.id, house.clock.now()):
                yield _crl(session, house, record)
        due = publication.next_due(session)
    overdue = house.clock.now() - due if due is not None else timedelta(0)
    if overdue > _WORKER_IS_LATE:
        minutes = int(overdue.total_seconds() // 60)
        yield Finding("worker", "warning", f"a CRL has been due for {minutes} minutes", "is the service running?")


def _crl(session: Session, house: House, record: AuthorityRecord) -> Finding:
    check = f"CRL of {record.name}"
    head = publication.current(session, record.id)
    if head is None:
        return Finding(check, "error", "none has been published yet", "start the service, or run signetry crl issue")
    left = head.next_update - house.clock.now()
    if left <= timedelta(0):
        return Finding(
            check, "error", f"expired on {head.next_update:%Y-%m-%d %H:%M} UTC", "start the service; is the key there?"
        )
    if left < (head.next_update - head.this_update) / 4:
        return Finding(check, "warning", f"expires at {head.next_update:%Y-%m-%d %H:%M} UTC", "is the worker running?")
    return Finding(check, "ok", f"number {head.number}, {head.entry_count} entries, until {head.next_update:%Y-%m-%d %H:%M} UTC")
