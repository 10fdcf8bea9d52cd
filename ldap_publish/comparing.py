"""Finding the entries of a person or authority in a directory, and comparing them with what they should hold. Changes nothing.

Every function here raises DirectoryUnavailable when the directory cannot be used now.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from foundation.errors import SignetryError
from ldap_publish.directory import Directory, DirectoryClient, Entry, Missing
from ldap_publish.entry import Plan, Value, digest, plan
from ldap_publish.errors import AmbiguousEntry, DirectoryUnavailable, NoMatchingEntry
from ldap_publish.records import SubjectKind
from ldap_publish.subjects import SubjectState
from ldap_publish.template import escape_dn_value


@dataclass(frozen=True, slots=True)
class EntryPlan:
    """An entry and how it comes to hold what it should; one that ``exists`` not holds nothing yet."""

    entry: Entry
    exists: bool
    wanted: tuple[Value, ...]
    plan: Plan


@dataclass(frozen=True, slots=True)
class Comparison:
    """The entries of a person or authority: its own first, then those in which it stood before.

    With a ``problem``, its own could not be found; what is revoked leaves the others all the same.
    """

    state: SubjectState
    entries: tuple[EntryPlan, ...] = ()
    problem: SignetryError | None = None


def compare(directory: Directory, state: SubjectState, client: DirectoryClient) -> Comparison:
    """Find the entries of ``state`` and say how they come to hold what they should."""
    if state.wanted is None:
        return Comparison(state, problem=state.problem)
    wanted = state.wanted.values
    if not wanted and not state.placed:
        return Comparison(state)
    own: Entry | None = None
    entries: list[EntryPlan] = []
    problem: SignetryError | None = None
    try:
        if wanted:
            own, exists = _locate(directory, state, client)
            entries.append(_planned(directory, state, own, wanted, exists=exists))
    except DirectoryUnavailable:
        raise
    except SignetryError as error:
        problem = error
    try:
        for former in _former(directory, state, own, client):
            # Where its own entry is not found, what is still good stays where it is.
            kept = _still_there(former, state, wanted) if own is None else ()
            entries.append(_planned(directory, state, former, kept, exists=True))
    except DirectoryUnavailable:
        raise
    except SignetryError as error:
        problem = problem or error
    return Comparison(state, tuple(entries), problem)


def planned_again(directory: Directory, state: SubjectState, before: EntryPlan, client: DirectoryClient) -> EntryPlan | None:
    """Read an entry anew and compare it again, None where it is gone. Raises VersionUnreadable."""
    entry = client.read(before.entry.dn, attributes_of(directory, state))
    return None if entry is None else _planned(directory, state, entry, before.wanted, exists=True)


def attributes_of(directory: Directory, state: SubjectState) -> list[str]:
    """Return the attributes that an entry is read with: those written, those written once, and the one that shows changes."""
    dialect = directory.dialect
    written = {value.attribute for value in state.wanted.values} if state.wanted else set()
    written |= {placed.owned.attribute for placed in state.placed}
    if state.subject.kind is SubjectKind.PERSON:
        written.add(dialect.user_certificate)
    # Without options, so that values under another option are seen as well.
    names = sorted({attribute.partition(";")[0] for attribute in written})
    return names if dialect.version is None else [*names, dialect.version]


def _locate(directory: Directory, state: SubjectState, client: DirectoryClient) -> tuple[Entry, bool]:
    """Return the entry that is to hold what is wanted, and whether it exists.

    Raises:
        NoMatchingEntry, AmbiguousEntry, MissingField, UnusableValue: there is not the one entry.
    """
    attributes = attributes_of(directory, state)
    if state.subject.kind is SubjectKind.AUTHORITY:
        dn = f"cn={escape_dn_value(state.name)},{directory.authority_base}"
        entry = client.read(dn, attributes)
        return (Entry(dn, {}), False) if entry is None else (entry, True)
    search_filter = directory.search_filter.filled(state.fields)
    found = client.find(directory.search_base, search_filter, attributes)
    if len(found) > 1:
        raise AmbiguousEntry(f"{search_filter} matches several entries, {found[0].dn} and {found[1].dn} among them")
    if found:
        return found[0], True
    if directory.missing is Missing.WAIT or directory.create_dn is None:
        raise NoMatchingEntry(f"no entry matches {search_filter} below {directory.search_base}")
    return Entry(directory.create_dn.filled(state.fields), {}), False


def _former(directory: Directory, state: SubjectState, own: Entry | None, client: DirectoryClient) -> Iterable[Entry]:
    """Yield the other entries into which something was put, as far as they still exist."""
    seen = {own.dn.lower()} if own else set()
    for dn in dict.fromkeys(placed.dn for placed in state.placed):
        if dn.lower() not in seen:
            seen.add(dn.lower())
            entry = client.read(dn, attributes_of(directory, state))
            # One and the same entry may be spelt in several ways.
            if entry is not None and (own is None or entry.dn.lower() != own.dn.lower()):
                seen.add(entry.dn.lower())
                yield entry


def _still_there(entry: Entry, state: SubjectState, wanted: Iterable[Value]) -> tuple[Value, ...]:
    present = {digest(value) for values in entry.attributes.values() for value in values}
    sources = {placed.owned.source for placed in state.placed if placed.owned.sha256 in present}
    return tuple(value for value in wanted if value.source in sources)


def _planned(directory: Directory, state: SubjectState, entry: Entry, wanted: tuple[Value, ...], *, exists: bool) -> EntryPlan:
    owned = (placed.owned for placed in state.placed)
    return EntryPlan(entry, exists, wanted, plan(entry, wanted, owned, directory.dialect))
