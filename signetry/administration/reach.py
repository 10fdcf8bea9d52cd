"""How far whoever acts can reach: everything, or what an MDM's token is limited to (design.md section 5, "Tokens are scoped").

What lies beyond is not refused, it is not found: an answer that told the two apart would say what there is.
"""

from dataclasses import dataclass
from typing import Self

from ca.selection import Holders
from people.devices import carried_by_members
from people.membership import members
from scep.endpoint import Endpoint, UnknownEndpoint
from signetry.access.tokens import Scope
from signetry.house import House


@dataclass(frozen=True, slots=True)
class Reach:
    """The group, SCEP endpoints and certificate profiles that exist for an actor. None does not restrict."""

    group: str | None = None
    endpoints: frozenset[str] | None = None
    profiles: frozenset[str] | None = None

    @classmethod
    def of(cls, scope: Scope | None) -> Self:
        """Return the reach of a token with this scope."""
        return cls() if scope is None else cls(scope.group, scope.endpoints, scope.profiles)

    @property
    def holders(self) -> Holders | None:
        """Whose certificates exist for the actor."""
        if self.group is None:
            return None
        return Holders(members(self.group), carried_by_members(self.group))

    def includes_profile(self, profile: str) -> bool:
        """Say whether the actor may have certificates of ``profile`` issued and revoked."""
        return self.profiles is None or profile in self.profiles

    def endpoints_of(self, house: House) -> dict[str, Endpoint]:
        """Return the SCEP endpoints of ``house`` that exist for the actor, by name."""
        return {name: endpoint for name, endpoint in house.endpoints.items() if self.endpoints is None or name in self.endpoints}

    def endpoint(self, house: House, name: str) -> Endpoint:
        """Return a SCEP endpoint.

        Raises:
            UnknownEndpoint: none has this name; the message names those there are.
        """
        known = self.endpoints_of(house)
        if name not in known:
            raise UnknownEndpoint(f"there is no SCEP endpoint {name!r}; configured are {', '.join(sorted(known))}")
        return known[name]


EVERYTHING = Reach()
