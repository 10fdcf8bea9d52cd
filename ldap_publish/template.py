"""Search filters and DNs made for a person from what the settings say and what is recorded of the person.

Sources: RFC 4515 section 3 (escapes in filters), RFC 4514 section 2.4 (escapes in DNs). Whatever a person is called, it stays a
value: it can neither widen a search nor leave its place in a DN.
"""

import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ldap_publish.errors import BadTemplate, MissingField, UnusableValue

FIELDS = ("upn", "email", "account_name", "employee_code", "sid", "display_name")

_IN_FILTER = re.compile(r"[\\*()\x00]")
_IN_DN = re.compile(r'["+,;<>\\=#]')
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DESCRIPTION = r"[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+"
# An RDN with one attribute, its value up to the first comma that is not escaped.
_FIRST_RDN = re.compile(rf"\s*({_DESCRIPTION})\s*=\s*((?:\\.|[^,+\\])+?)\s*,\s*(\S.*)", re.DOTALL)
_EQUALITY = re.compile(rf"\(({_DESCRIPTION})=\{{(\w+)\}}\)")


def escape_filter_value(value: str) -> str:
    """Return ``value`` as it stands in a search filter."""
    return _IN_FILTER.sub(lambda match: f"\\{ord(match[0]):02x}", value)


def escape_dn_value(value: str) -> str:
    """Return ``value`` as it stands in a DN.

    Raises:
        UnusableValue: it holds control characters. Escaped they would be correct, and refused or misread by much that reads DNs.
    """
    if _CONTROL.search(value):
        raise UnusableValue("a value with control characters cannot stand in a DN")
    escaped = _IN_DN.sub(lambda match: f"\\{match[0]}", value)
    if escaped.startswith(" "):
        escaped = f"\\{escaped}"
    if escaped.endswith(" ") and len(value) > 1:
        escaped = f"{escaped[:-1]}\\ "
    return escaped


@dataclass(frozen=True, slots=True)
class FilterTemplate:
    """A search filter with ``{field}`` where a person's own belongs.

    Raises:
        BadTemplate: it is no filter in parentheses, names an unknown field, or none at all, so that everybody's entry were one.
    """

    text: str

    def __post_init__(self) -> None:
        if not _placeholders(self.text):
            raise BadTemplate(f"it must name something of the person: {_listed()}")
        if not _is_balanced(self.text):
            raise BadTemplate("write it in parentheses, for example (mail={email})")

    def filled(self, fields: Mapping[str, str]) -> str:
        """Return the filter for a person. Raises MissingField."""
        return _filled(self.text, fields, escape_filter_value)

    @property
    def equalities(self) -> Mapping[str, str]:
        """The attributes that the filter compares with a field and nothing else: an entry made for the person gets them."""
        return MappingProxyType(dict(_EQUALITY.findall(self.text)))


@dataclass(frozen=True, slots=True)
class DnTemplate:
    """The DN of a new entry, with ``{field}`` where a person's own belongs.

    Raises:
        BadTemplate: it is no DN, its first part is not one attribute with a field of the person, or it names an unknown field.
    """

    text: str
    rdn_attribute: str = field(init=False)
    _rdn_value: str = field(init=False, repr=False)
    _parent: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        first = _FIRST_RDN.fullmatch(self.text)
        if first is None:
            raise BadTemplate("write it as attribute={field},rest, for example cn={display_name},ou=people,dc=example,dc=com")
        if not _placeholders(first[2]):
            raise BadTemplate(f"the first part must name something of the person: {_listed()}")
        _placeholders(first[3])
        for name, value in zip(("rdn_attribute", "_rdn_value", "_parent"), first.groups(), strict=True):
            object.__setattr__(self, name, value)

    def filled(self, fields: Mapping[str, str]) -> str:
        """Return the DN for a person. Raises MissingField, UnusableValue."""
        return _filled(self.text, fields, escape_dn_value)

    def rdn_value(self, fields: Mapping[str, str]) -> str:
        """Return the value of the DN's first attribute, without escapes. Raises MissingField, UnusableValue."""
        value = _filled(self._rdn_value, fields, lambda each: each)
        return re.sub(r"\\(.)", r"\1", value) if "\\" in self._rdn_value else value


def _placeholders(text: str) -> list[str]:
    """Return the fields that ``text`` names. Raises BadTemplate for an unknown one, and for anything but a plain ``{field}``."""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        raise BadTemplate("a brace has no partner") from None
    named = []
    for _, name, specification, conversion in parts:
        if name is None:
            continue
        if name not in FIELDS or specification or conversion:
            raise BadTemplate(f"what may stand in braces is {_listed()}")
        named.append(name)
    return named


def _listed() -> str:
    return ", ".join(f"{{{name}}}" for name in FIELDS)


def _filled(text: str, fields: Mapping[str, str], escape: Callable[[str], str]) -> str:
    values = {}
    for name in _placeholders(text):
        value = fields.get(name, "")
        if not value:
            raise MissingField(f"the person has no {name}, which the settings of this directory ask for")
        values[name] = escape(value)
    return text.format_map(values)


def _is_balanced(text: str) -> bool:
    """Say whether ``text`` is one pair of parentheses with others properly inside."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth <= 0 and position < len(text) - 1:
            return False
    return depth == 0 and text.startswith("(")
