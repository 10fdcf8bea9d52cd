"""How far a caller's acts on certificates reach."""

from ca.profiles import DEVICE_PROFILES, PERSON_PROFILES
from signetry.access.roles import Permission
from signetry.administration.reach import Reach
from signetry.api.security import Caller

_ENROLLABLE: frozenset[str] = frozenset((*PERSON_PROFILES, *DEVICE_PROFILES))


def reach_of(caller: Caller) -> Reach:
    """Return what exists for the caller, and what they may change.

    An officer's are the certificates of persons and devices. To revoke an authority's, or one of the service's own, stops
    everybody at once: that is for who may change authorities.
    """
    if caller.scope is not None:
        return Reach.of(caller.scope)
    return Reach() if caller.may(Permission.CHANGE_AUTHORITIES) else Reach(profiles=_ENROLLABLE)
