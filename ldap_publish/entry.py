"""The difference between what an entry holds and what it should hold of ours. Pure: nothing is read or written here.

Values of others are never touched: only single values are added and deleted. Where a server cannot delete a single value, the
attribute is replaced by theirs and ours, under the condition that the entry is still the one that was read (RFC 4528).
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from ldap_publish.directory import Assertion, Change, ChangeKind, Dialect, Entry
from ldap_publish.errors import PlaceTaken, VersionUnreadable


class Value:
    """A value that an entry should hold.

    ``source`` says what it is made from: any value of ours from the same source will do, because a signature differs each time
    it is made, and is made only where it is needed. Of a certificate it is the certificate's own digest.
    """

    __slots__ = ("_content", "_make", "attribute", "source")

    def __init__(self, attribute: str, source: str, make: Callable[[], bytes]) -> None:
        self.attribute = attribute
        self.source = source
        self._make = make
        self._content: bytes | None = None

    @classmethod
    def of(cls, attribute: str, content: bytes) -> Self:
        """Return a value that is its own source."""
        return cls(attribute, digest(content), lambda: content)

    @property
    def content(self) -> bytes:
        """The value itself, made once."""
        if self._content is None:
            self._content = self._make()
        return self._content

    @property
    def owned(self) -> "Owned":
        """What is recorded of it."""
        return Owned(self.attribute, digest(self.content), self.source)


@dataclass(frozen=True, slots=True)
class Owned:
    """A value that we put into an entry, or were about to, as the records have it."""

    attribute: str
    sha256: str
    source: str


_Described = TypeVar("_Described", Value, Owned)


@dataclass(frozen=True, slots=True)
class Plan:
    """How an entry comes to hold what it should.

    Attributes:
        changes: what to change, in one step; nothing where the entry is as it should be.
        assertion: what must still hold of the entry when it is changed.
        holds: what of ours the entry holds afterwards.
        missing: what it lacked before.
        surplus: what it held of ours and should not.
    """

    changes: tuple[Change, ...]
    assertion: Assertion | None
    holds: tuple[Owned, ...]
    missing: tuple[Value, ...]
    surplus: tuple[Owned, ...]


def digest(content: bytes) -> str:
    """Return the SHA-256 of a value in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def plan(entry: Entry, wanted: Iterable[Value], owned: Iterable[Owned], dialect: Dialect) -> Plan:
    """Compare an entry with what it should hold.

    A wanted value that is there already counts as ours from then on, whoever put it there.

    Args:
        entry: as it was read just now.
        wanted: what it should hold of ours.
        owned: what is recorded as ours, whether it is in this entry or not.
        dialect: of the directory.

    Raises:
        VersionUnreadable: an attribute would have to be replaced, and the entry does not show the attribute to assert.
        PlaceTaken: an attribute that holds one value holds somebody else's.
    """
    wanted_of, owned_of = _by_attribute(wanted), _by_attribute(owned)
    parts = [
        _compare(entry.values(attribute), wanted_of.get(attribute, ()), owned_of.get(attribute, ()), attribute)
        for attribute in sorted({*wanted_of, *owned_of})
    ]
    for part in parts:
        part.check_room(entry.dn, dialect)
    changes = tuple(change for part in parts for change in part.changes(dialect))
    return Plan(
        changes=changes,
        assertion=_assertion(entry, changes, dialect),
        holds=tuple(each for part in parts for each in part.holds),
        missing=tuple(value for part in parts for value in part.added),
        surplus=tuple(each for part in parts for each in part.surplus),
    )


def one_by_one(changes: Iterable[Change]) -> list[Change]:
    """Take changes apart into single values, additions first; a replacement stays whole, and comes before all."""
    order = {ChangeKind.REPLACE: 0, ChangeKind.ADD: 1, ChangeKind.DELETE: 2}
    single: list[Change] = []
    for change in sorted(changes, key=lambda change: order[change.kind]):
        if change.kind is ChangeKind.REPLACE:
            single.append(change)
        else:
            single += [Change(change.kind, change.attribute, (value,)) for value in change.values]
    return single


def count_after(entry: Entry, changes: Iterable[Change], attribute: str) -> int:
    """Return how many values of ``attribute`` an entry holds after additions and deletions, under whatever options."""
    base = _base(attribute)
    count = sum(len(values) for description, values in entry.attributes.items() if _base(description) == base)
    for change in changes:
        if _base(change.attribute) == base and change.kind is not ChangeKind.REPLACE:
            count += len(change.values) if change.kind is ChangeKind.ADD else -len(change.values)
    return count


@dataclass(frozen=True, slots=True)
class _Part:
    """The comparison of one attribute; ``present`` by digest, in the entry's order."""

    attribute: str
    present: Mapping[str, bytes]
    holds: tuple[Owned, ...]
    surplus: tuple[Owned, ...]
    added: tuple[Value, ...]

    def check_room(self, dn: str, dialect: Dialect) -> None:
        """Return if what is to be added finds room. Raises PlaceTaken."""
        if self.attribute in dialect.single and self.added:
            going = {each.sha256 for each in self.surplus} | {digest(dialect.placeholders.get(self.attribute, b""))}
            if not set(self.present) <= going:
                raise PlaceTaken(f"{dn}: {self.attribute} holds one value, and what it holds is not from here: remove that first")

    def changes(self, dialect: Dialect) -> list[Change]:
        """Return what to change of the attribute."""
        added = tuple(value.content for value in self.added)
        deleted = tuple(self.present[each.sha256] for each in self.surplus)
        if self.attribute in dialect.replaced and self.present and (added or deleted):
            # With nothing there, values are added: whoever may not see what is there must not replace it.
            left = tuple(value for value in self.present.values() if value not in deleted)
            return [Change(ChangeKind.REPLACE, self.attribute, (*left, *added))]
        placeholder = dialect.placeholders.get(self.attribute)
        if placeholder is not None and (added or deleted):
            if digest(placeholder) in self.present and added:
                deleted = (*deleted, placeholder)
            elif not added and len(deleted) == len(self.present):
                added = (placeholder,)
        # Deletions first: an attribute may be limited to one value. The changes of an entry take effect together.
        changes = [Change(ChangeKind.DELETE, self.attribute, deleted)] if deleted else []
        return [*changes, Change(ChangeKind.ADD, self.attribute, added)] if added else changes


def _compare(present: tuple[bytes, ...], wanted: Sequence[Value], owned: Sequence[Owned], attribute: str) -> _Part:
    by_digest = {digest(value): value for value in present}
    ours = {each.sha256: each for each in owned}
    there = {each.source: each for each in owned if each.sha256 in by_digest}
    holds: dict[str, Owned] = {}
    added: dict[str, Value] = {}
    for value in wanted:
        mine = there.get(value.source) or value.owned
        holds[mine.sha256] = mine
        if mine.sha256 not in by_digest:
            added[mine.sha256] = value
    surplus = tuple(each for sha256, each in ours.items() if sha256 in by_digest and sha256 not in holds)
    return _Part(attribute, by_digest, tuple(holds.values()), surplus, tuple(added.values()))


def _assertion(entry: Entry, changes: Iterable[Change], dialect: Dialect) -> Assertion | None:
    if all(change.kind is not ChangeKind.REPLACE for change in changes):
        return None
    version = entry.values(dialect.version or "")
    if dialect.version is None or len(version) != 1:
        raise VersionUnreadable(f"{entry.dn}: {dialect.version} cannot be read, so values of others cannot be kept safely")
    return Assertion(dialect.version, version[0])


def _by_attribute(values: Iterable[_Described]) -> dict[str, list[_Described]]:
    found: dict[str, list[_Described]] = defaultdict(list)
    for value in values:
        found[value.attribute].append(value)
    return found


def _base(attribute: str) -> str:
    return attribute.partition(";")[0].lower()
