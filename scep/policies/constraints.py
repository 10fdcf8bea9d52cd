"""What an administrator allows the names at an endpoint to be where no record of ours says so."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ca.errors import NamesNotAuthorised
from ca.subject import COMMON_NAME_BYTES
from people.addresses import normalise_dns_name
from people.errors import InvalidField
from people.identifiers import normalise_text

LONGEST_PATTERN: Final = COMMON_NAME_BYTES
_RUNS_OF_STARS: Final = re.compile(r"\*+")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern for a whole common name: ``*`` stands for any characters or none, ``?`` for one, all else for itself.

    No regular expression: what it matches is seen at a glance, and matching takes at most pattern times text steps.
    """

    text: str

    def matches(self, name: str) -> bool:
        """Say whether the pattern stands for all of ``name``; case counts."""
        pattern = _RUNS_OF_STARS.sub("*", self.text)
        at, position = 0, 0
        # Where the last star was, and how much of the name it has taken so far.
        star, taken = -1, 0
        while position < len(name):
            if at < len(pattern) and pattern[at] == "*":
                star, taken, at = at, position, at + 1
            elif at < len(pattern) and pattern[at] in ("?", name[position]):
                at, position = at + 1, position + 1
            elif star >= 0:
                taken += 1
                at, position = star + 1, taken
            else:
                return False
        return pattern[at:] in ("", "*")


def is_below(name: str, suffixes: Iterable[str]) -> bool:
    """Say whether a DNS name has labels in front of one of the ``suffixes``; both in lower-case A-labels."""
    return any(name.endswith("." + suffix) for suffix in suffixes)


def allowed_dns_names(requested: Iterable[str], suffixes: Iterable[str]) -> tuple[str, ...]:
    """Return DNS names as certificates have them, without repetitions, all of them below one of the ``suffixes``.

    Raises:
        NamesNotAuthorised: one is no host name (a wildcard is none), or lies elsewhere.
    """
    below = tuple(suffixes)
    allowed: dict[str, None] = {}
    for name in requested:
        try:
            known = normalise_dns_name(name)
        except InvalidField as error:
            raise NamesNotAuthorised(f"a requested DNS name cannot be certified: {error.reason}") from None
        if not is_below(known, below):
            raise NamesNotAuthorised(f"the requested DNS name {known} is not below a domain of this endpoint")
        allowed[known] = None
    return tuple(allowed)


def allowed_common_name(requested: str, pattern: Pattern) -> str:
    """Return a common name that is as it stands, and as the ``pattern`` wants it.

    Raises:
        NamesNotAuthorised: it is missing, too long, holds an address or what deceives a reader, or does not match.
    """
    if not requested:
        raise NamesNotAuthorised("the request has no common name, which this endpoint takes from it")
    try:
        text = normalise_text(requested, field="common name", maximum=COMMON_NAME_BYTES, required=True)
    except InvalidField as error:
        raise NamesNotAuthorised(f"the requested {error}") from None
    # An at sign would make an address, or a user principal name, of it for whoever looks for one.
    if text != requested or "@" in text or len(text.encode()) > COMMON_NAME_BYTES:
        raise NamesNotAuthorised("the requested common name cannot be certified as it stands")
    if not pattern.matches(text):
        raise NamesNotAuthorised("the requested common name does not match what this endpoint allows")
    return text
