"""A directory in memory that answers as the real ones do (facts/ldap.md), and fails where a test wants it to."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ldap_publish.directory import DIALECTS, Assertion, Change, ChangeKind, Dialect, DirectoryKind, Entry
from ldap_publish.errors import (
    EntryChanged,
    EntryExists,
    EntryMissing,
    EntryRefused,
    ValueNotThere,
    ValueThereAlready,
)

Attributes = dict[str, list[bytes]]


@dataclass
class FakeDirectory:
    """The entries by DN, and what was done to them. ``interfere`` is called before each operation with its name and DN."""

    kind: DirectoryKind = DirectoryKind.OPENLDAP
    entries: dict[str, Attributes] = field(default_factory=dict)
    operations: list[tuple[str, str]] = field(default_factory=list)
    interfere: Callable[[str, str], None] = lambda _operation, _dn: None
    versions: dict[str, int] = field(default_factory=dict)
    closed: int = 0

    @property
    def dialect(self) -> Dialect:
        """How it wants things written."""
        return DIALECTS[self.kind]

    def connect(self, _server: object) -> "FakeDirectory":
        """Stand for a client of itself."""
        return self

    def add_person(self, name: str, mail: str | None = None) -> str:
        """Add a person's entry; return the DN."""
        dn = f"cn={name},ou=people,dc=example,dc=com"
        self.entries[dn] = {"cn": [name.encode()], "mail": [(mail or f"{name}@example.com").encode()]}
        return dn

    def values(self, dn: str, attribute: str) -> list[bytes]:
        """Return the values of an attribute."""
        return self.entries.get(dn, {}).get(attribute.lower(), [])

    def find(self, base: str, search_filter: str, attributes: Sequence[str]) -> list[Entry]:
        """Find by the equality of one attribute."""
        self._begin("find", search_filter)
        match = re.fullmatch(r"\(([\w-]+)=((?:[^()*\\\x00]|\\[0-9a-f]{2})+)\)", search_filter)
        assert match, search_filter
        value = re.sub(r"\\([0-9a-f]{2})", lambda code: chr(int(code[1], 16)), match[2]).encode()
        found = [dn for dn, held in self.entries.items() if dn.endswith(base) and value in held.get(match[1].lower(), [])]
        return [self._entry(dn, attributes) for dn in found][:2]

    def read(self, dn: str, attributes: Sequence[str]) -> Entry | None:
        """Read one entry."""
        self._begin("read", dn)
        known = self._spelling(dn)
        return None if known is None else self._entry(known, attributes)

    def add(self, dn: str, classes: Sequence[str], attributes: Mapping[str, Sequence[bytes]]) -> None:
        """Add an entry."""
        self._begin("add", dn)
        if self._spelling(dn) is not None:
            raise EntryExists(68, "entryAlreadyExists", "", dn)
        held = {name.lower(): list(values) for name, values in attributes.items()}
        self.entries[dn] = {"objectclass": [each.encode() for each in classes], **held}

    def modify(self, dn: str, changes: Sequence[Change], assertion: Assertion | None = None) -> None:
        """Change an entry, all or nothing."""
        self._begin("modify", dn)
        known = self._spelling(dn)
        if known is None:
            raise EntryMissing(32, "noSuchObject", "", dn)
        if assertion is not None and self._version(known) != assertion.value:
            raise EntryChanged(dn)
        held = {name: list(values) for name, values in self.entries[known].items()}
        for change in changes:
            self._change(known, held, change)
        self.entries[known] = held
        self.versions[known] = self.versions.get(known, 0) + 1

    def close(self) -> None:
        """Count it."""
        self.closed += 1

    def touch(self, dn: str, attribute: str, *values: bytes) -> None:
        """Add values as somebody else."""
        self.entries[dn].setdefault(attribute.lower(), []).extend(values)
        self.versions[dn] = self.versions.get(dn, 0) + 1

    def _change(self, dn: str, held: Attributes, change: Change) -> None:
        values = held.setdefault(change.attribute.lower(), [])
        no_rule = change.attribute in self.dialect.replaced
        match change.kind:
            case ChangeKind.REPLACE:
                values[:] = change.values
            case ChangeKind.ADD:
                if no_rule and values:
                    raise EntryRefused(18, "inappropriateMatching", "no equality matching rule", dn)
                if set(change.values) & set(values) or (change.attribute in self.dialect.single and values):
                    raise ValueThereAlready(20, "attributeOrValueExists", "", dn)
                values += change.values
            case ChangeKind.DELETE:
                if no_rule:
                    raise EntryRefused(18, "inappropriateMatching", "no equality matching rule", dn)
                if not set(change.values) <= set(values):
                    raise ValueNotThere(16, "noSuchAttribute", "", dn)
                values[:] = [value for value in values if value not in change.values]
        if not values:
            del held[change.attribute.lower()]

    def _begin(self, operation: str, dn: str) -> None:
        self.interfere(operation, dn)
        self.operations.append((operation, dn))

    def _spelling(self, dn: str) -> str | None:
        return next((known for known in self.entries if known.lower() == dn.lower()), None)

    def _version(self, dn: str) -> bytes:
        return f"{self.versions.get(dn, 0):06}".encode()

    def _entry(self, dn: str, attributes: Sequence[str]) -> Entry:
        wanted = {name.lower() for name in attributes}
        held = {name: tuple(values) for name, values in self.entries[dn].items() if name.partition(";")[0] in wanted}
        if self.dialect.version:
            held[self.dialect.version.lower()] = (self._version(dn),)
        return Entry(dn, held)
