"""Comparing a directory with the records, entry by entry. Nothing is changed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from cryptography import x509

from foundation.clock import Clock
from foundation.transactions import Transactions
from ldap_publish import outbox
from ldap_publish.comparing import Comparison, EntryPlan, compare
from ldap_publish.directory import Directory, DirectoryClient
from ldap_publish.entry import digest
from ldap_publish.errors import DirectoryUnavailable
from ldap_publish.outbox import Subject
from ldap_publish.subjects import Sources, SubjectState, everybody, load

Progress = Callable[[int, int], None]

_AT_A_TIME = 200


class DifferenceKind(StrEnum):
    """In what way directory and records differ."""

    MISSING = "missing"
    UNEXPECTED = "unexpected"
    NO_ENTRY = "no-entry"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference; ``serial`` is that of the certificate it is about, and ``detail`` says what else there is to say."""

    kind: DifferenceKind
    directory: str
    subject: str = ""
    entry: str = ""
    attribute: str = ""
    serial: str = ""
    detail: str = ""


class Checker:
    """Compares one directory with the records."""

    def __init__(
        self, directory: Directory, client: DirectoryClient, transactions: Transactions, clock: Clock, sources: Sources
    ) -> None:
        self._directory = directory
        self._client = client
        self._transactions = transactions
        self._clock = clock
        self._sources = sources

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def everybody(self) -> list[Subject]:
        """Return all of whom something should stand in the directory, or once stood there."""
        with self._transactions.reading() as session:
            return everybody(session, self._directory, self._clock.now(), self._sources.foreign)

    def owed(self) -> list[Subject]:
        """Return those whose entries the next upload looks at, failed attempts included."""
        with self._transactions.reading() as session:
            return outbox.owed(session, self._directory.name, self._clock.now())

    def differences(self, subjects: Sequence[Subject], progress: Progress | None = None) -> Iterator[Difference]:
        """Yield what the entries of ``subjects`` lack, and what they hold without need; ``progress`` gets done and total."""
        done = 0
        remaining = iter(subjects)
        while batch := list(islice(remaining, _AT_A_TIME)):
            with self._transactions.reading() as session:
                states = load(session, self._directory, batch, self._clock.now(), self._sources)
            for state in states:
                try:
                    yield from self._of(compare(self._directory, state, self._client))
                except DirectoryUnavailable as error:
                    yield Difference(DifferenceKind.UNREACHABLE, self._directory.name, detail=str(error))
                    return
                done += 1
                if progress is not None:
                    progress(done, len(subjects))

    def _of(self, comparison: Comparison) -> Iterator[Difference]:
        state = comparison.state
        if comparison.problem is not None:
            kind = DifferenceKind.MISSING if state.wanted is None else DifferenceKind.NO_ENTRY
            yield Difference(kind, self._directory.name, state.name, detail=str(comparison.problem))
        serials = state.wanted.serials if state.wanted else {}
        for each in comparison.entries:
            name, dn = state.name, each.entry.dn
            if not each.exists:
                yield Difference(DifferenceKind.NO_ENTRY, self._directory.name, name, dn, detail="it is yet to be created")
                continue
            for value in each.plan.missing:
                serial = serials.get(value.source, "")
                yield Difference(DifferenceKind.MISSING, self._directory.name, name, dn, value.attribute, serial)
            for attribute, serial, detail in _unexpected(each, state):
                yield Difference(DifferenceKind.UNEXPECTED, self._directory.name, name, dn, attribute, serial, detail)


def _unexpected(entry_plan: EntryPlan, state: SubjectState) -> Iterator[tuple[str, str, str]]:
    """Yield attribute, serial number and remark of what should not stand in an entry."""
    surplus = {(each.attribute, each.sha256) for each in entry_plan.plan.surplus}
    ended = {int(each.serial, 16) for each in state.certificates if each.der is None}
    for description, values in entry_plan.entry.attributes.items():
        for content in values:
            own = next((attribute for attribute, sha256 in surplus if _is(attribute, sha256, description, content)), None)
            serial = _serial(content)
            if own is not None:
                yield own, "" if serial is None else f"{serial:x}", ""
            elif serial in ended:
                yield description, f"{serial:x}", "revoked or expired, and put there by somebody else"


def _is(attribute: str, sha256: str, description: str, content: bytes) -> bool:
    return attribute.lower() == description and sha256 == digest(content)


def _serial(content: bytes) -> int | None:
    """Return the serial number of a certificate, None for what is none."""
    try:
        return x509.load_der_x509_certificate(content).serial_number
    except ValueError:
        return None
