"""What stands in the database, and in the certificates in use, read when somebody asks: the same whichever process answers.

The statements are few and indexed, and what they found is good for a few seconds, so that nobody can keep the database busy by
asking; directories and authorities are few.
"""

import platform
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from importlib.metadata import version

import structlog
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import case, func, select
from sqlmodel import Session, col

from ca import hierarchy
from ca.lineage import Standing
from ca.ra_keys import REGISTRATION
from ca.records import Certificate, ServiceKey
from crl import publication
from crl.records import CrlSchedule
from foundation.errors import SignetryError
from ldap_publish.status import Backlog, backlog
from notices import listing
from notices.listing import State as NoticeState
from scep import pending_decisions
from scep.pending import State
from signetry import tls
from signetry.errors import ConfigurationError
from signetry.house import House

_log = structlog.get_logger("signetry.metrics")

_GOOD_FOR_SECONDS = 5.0
_SOON = {"7d": timedelta(days=7), "30d": timedelta(days=30)}


class StateCollector(Collector):
    """Collects from ``house``; one instance serves all who ask a process."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._lock = threading.Lock()
        self._collected: list[Metric] = []
        self._until = 0.0

    def collect(self) -> Iterable[Metric]:
        """Return the state of now, or of a few seconds ago; of a database that is down, only that."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._collected = list(self._state())
                self._until = time.monotonic() + _GOOD_FOR_SECONDS
            return self._collected

    def _state(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "signetry_build",
            "The release that runs.",
            {"version": version("signetry"), "python": platform.python_version()},
        )
        now = self._house.clock.now()
        found: list[Metric] = []
        available = True
        try:
            with self._house.transactions.reading() as session:
                found = [
                    *_directories(session, sorted(self._house.settings.directories), now),
                    *_crls(session, now),
                    *_requests(session, self._house.endpoints, now),
                    *_notices(session, now),
                    *_expiring(session, self._profiles, now),
                    self._ends(session),
                ]
        except SignetryError as error:
            _log.warning("metrics without the database", reason=str(error))
            available = False
        yield GaugeMetricFamily("signetry_database_up", "Whether the database answers.", float(available))
        yield from found

    @property
    def _profiles(self) -> list[str]:
        return sorted({profile for endpoint in self._house.endpoints.values() for profile in endpoint.profiles})

    def _ends(self, session: Session) -> Metric:
        ends = _gauge(
            "signetry_certificate_not_after_timestamp_seconds",
            "When a certificate that the service itself needs expires: an authority's, the newest over each of its other keys "
            "(ra, publication), the listeners'.",
            ["kind", "name"],
        )
        for record in hierarchy.authorities(session):
            if record.standing is Standing.RETIRED:
                continue
            # Where another has taken its place, nobody has to see to these two any more.
            has_ended = record.standing is Standing.FORMER
            if not has_ended:
                ends.add_metric(["authority", record.name], record.not_after.timestamp())
            newest = (
                select(col(ServiceKey.purpose), func.max(col(Certificate.not_after)))
                .join(Certificate, col(ServiceKey.certificate_id) == col(Certificate.id))
                .where(col(ServiceKey.authority_id) == record.id, col(Certificate.revoked_at).is_(None))
                .group_by(col(ServiceKey.purpose))
            )
            for purpose, not_after in session.execute(newest):
                if has_ended and purpose == REGISTRATION.name:
                    continue
                ends.add_metric([purpose, record.name], not_after.timestamp())
        listeners = _end_of_listeners(self._house)
        if listeners is not None:
            ends.add_metric(["tls", "listeners"], listeners.timestamp())
        return ends


def _gauge(name: str, text: str, labels: list[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _end_of_listeners(house: House) -> datetime | None:
    """Return the end of the TLS certificate in the files; None where the pair could not be served: the one before still is."""
    try:
        return tls.read_pair(tls.files(house.settings), house.clock).not_after
    except ConfigurationError:
        return None


def _directories(session: Session, configured: list[str], now: datetime) -> Iterator[Metric]:
    """Return what each configured directory is owed; of directories that have left the settings nothing is said."""
    pending = _gauge(
        "signetry_directory_pending_entries", "Entries in which something is not yet as it should be.", ["directory"]
    )
    oldest = _gauge("signetry_directory_oldest_pending_seconds", "For how long the oldest of them has been owed.", ["directory"])
    failed = _gauge("signetry_directory_failed_entries", "Entries whose last upload failed, and is repeated.", ["directory"])
    waiting = _gauge(
        "signetry_directory_waiting_entries", "Entries that wait for the directory to have one for the person.", ["directory"]
    )
    usable = _gauge("signetry_directory_up", "Whether the directory could be used when it was last tried.", ["directory"])
    # One that the service has never been started with is owed nothing yet.
    owed = {found.directory: found for found in backlog(session, now)} if configured else {}
    for name in configured:
        found = owed.get(name, Backlog(name, 0, None, 0, 0, is_unreachable=False))
        late = (now - found.oldest).total_seconds() if found.oldest else 0.0
        pending.add_metric([name], found.pending)
        oldest.add_metric([name], max(0.0, late))
        failed.add_metric([name], found.failed)
        waiting.add_metric([name], found.waiting)
        usable.add_metric([name], float(not found.is_unreachable))
    yield from (pending, oldest, failed, waiting, usable)


def _crls(session: Session, now: datetime) -> Iterator[Metric]:
    age = _gauge("signetry_crl_age_seconds", "Time since the authority's newest CRL was made.", ["authority"])
    margin = _gauge("signetry_crl_margin_seconds", "Time until its nextUpdate; negative once it has expired.", ["authority"])
    number = _gauge("signetry_crl_number", "The number of the authority's newest CRL.", ["authority"])
    entries = _gauge("signetry_crl_entries", "Certificates that it lists.", ["authority"])
    overdue = _gauge("signetry_crl_overdue_seconds", "For how long the authority's next CRL has been due.", ["authority"])
    failures = _gauge("signetry_crl_failed_builds", "Builds that failed since the last one that succeeded.", ["authority"])
    schedules = {row.authority_id: row for row in session.execute(_SCHEDULES)}
    for record in hierarchy.authorities(session):
        if not publication.is_needed(session, record.id, now):
            # Retired, and its last certificate has expired: its CRL has run out, and nobody misses it.
            continue
        head = publication.current(session, record.id)
        if head is not None:
            age.add_metric([record.name], (now - head.issued_at).total_seconds())
            margin.add_metric([record.name], (head.next_update - now).total_seconds())
            number.add_metric([record.name], head.number)
            entries.add_metric([record.name], head.entry_count)
        schedule = schedules.get(record.id)
        if schedule is not None:
            late = (now - schedule.due_at).total_seconds() if schedule.due_at is not None else 0.0
            overdue.add_metric([record.name], max(0.0, late))
            failures.add_metric([record.name], schedule.failures)
    yield from (age, margin, number, entries, overdue, failures)


def _requests(session: Session, endpoints: Iterable[str], now: datetime) -> Iterator[Metric]:
    count = _gauge(
        "signetry_scep_pending_requests",
        "SCEP requests that were answered with PENDING: waiting for a decision, or late for want of a key.",
        ["endpoint", "state"],
    )
    oldest = _gauge("signetry_scep_oldest_pending_seconds", "For how long the oldest of them has.", ["endpoint", "state"])
    found = {(each.endpoint, each.state): each for each in pending_decisions.backlog(session, now=now)}
    for endpoint in sorted(endpoints):
        for state in (State.WAITING, State.LATE):
            each = found.get((endpoint, state))
            count.add_metric([endpoint, state], each.count if each else 0)
            oldest.add_metric([endpoint, state], max(0.0, (now - each.since).total_seconds()) if each else 0.0)
    yield from (count, oldest)


def _notices(session: Session, now: datetime) -> Iterator[Metric]:
    count = _gauge(
        "signetry_notices",
        "Mails to persons that the mail server has not taken: not tried yet, tried in vain so far, or given up.",
        ["state"],
    )
    oldest = GaugeMetricFamily(
        "signetry_notices_oldest_pending_seconds", "For how long the oldest mail that is not given up has been owed."
    )
    found = listing.backlog(session)
    count.add_metric([NoticeState.WAITING], found.waiting - found.deferred)
    count.add_metric([NoticeState.DEFERRED], found.deferred)
    count.add_metric([NoticeState.GIVEN_UP], found.given_up)
    oldest.add_metric([], max(0.0, (now - found.oldest).total_seconds()) if found.oldest else 0.0)
    yield from (count, oldest)


def _expiring(session: Session, profiles: list[str], now: datetime) -> Iterator[Metric]:
    expiring = _gauge(
        "signetry_expiring_certificates", "Certificates that are good and expire within so many days.", ["profile", "within"]
    )
    until = col(Certificate.not_after)
    counts = [func.count(case((until <= now + soon, 1))).label(f"within_{name}") for name, soon in _SOON.items()]
    query = (
        select(col(Certificate.profile), *counts)
        .where(until > now, until <= now + max(_SOON.values()), col(Certificate.revoked_at).is_(None))
        .group_by(col(Certificate.profile))
    )
    found = {profile: counted for profile, *counted in session.execute(query)}
    for profile in sorted({*profiles, *found}):
        for name, count in zip(_SOON, found.get(profile, [0] * len(_SOON)), strict=True):
            expiring.add_metric([profile, name], count)
    yield expiring


_SCHEDULES = select(col(CrlSchedule.authority_id), col(CrlSchedule.due_at), col(CrlSchedule.failures))
