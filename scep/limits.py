"""How often an address may ask: token buckets, to which the time is handed in.

Whoever is over a limit is told so, never met with silence. The buckets belong to one process, so several web processes together
let through as many times the number (docs/settings.md).
"""

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from scep.errors import TooManyRequests

_MINUTE: Final = 60.0
# What counts as one: sums of fractions fall short of it by a hair, and who comes back when told to is admitted.
_WHOLE: Final = 1 - 1e-6
# A refusal is signed, an RSA operation itself: so many of them for each request that is let in; what comes beyond gets no more
# than a line of HTTP.
_REFUSALS_PER_REQUEST: Final = 4
# Addresses that are remembered, some hundred bytes each. The one not seen for longest is forgotten first.
_ADDRESSES: Final = 20_000
# What one customer of a provider has of IPv6 (RFC 6177); within it an address costs nothing.
_IPV6_PREFIX: Final = 64
_LONGEST_NETWORK: Final = 64


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """How much an endpoint puts up with; 0 is no limit, but for what waits.

    Attributes:
        requests_per_minute: messages (PKIOperation) from one address.
        certificates_per_day: certificates for one person, or for one device that is nobody's.
        waiting_at_most: requests that wait for a decision.
        waiting_per_address: of these, requests from one address.
    """

    requests_per_minute: int = 0
    certificates_per_day: int = 0
    waiting_at_most: int = 1000
    waiting_per_address: int = 50


@dataclass(slots=True)
class _Bucket:
    """What an address may still send: ``requests`` that are admitted, ``refusals`` that are answered; as of ``at``."""

    requests: float
    refusals: float
    at: float


class AddressLimiter:
    """Token buckets by endpoint and address; safe to use from several threads.

    Args:
        monotonic: the time in seconds, from any beginning.
        addresses: how many are remembered.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, *, addresses: int = _ADDRESSES) -> None:
        self._monotonic = monotonic
        self._addresses = addresses
        self._lock = threading.Lock()
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()

    def admit(self, endpoint: str, origin: str, *, per_minute: int) -> int:
        """Return after how many seconds the address ``origin`` is to come back, 0 where its message is admitted.

        ``per_minute`` messages are, a whole minute's of them at once.

        Raises:
            TooManyRequests: the address was told so often enough.
        """
        if not per_minute:
            return 0
        now = self._monotonic()
        with self._lock:
            bucket = self._refilled((endpoint, network_of(origin)), float(per_minute), now)
            if bucket.requests >= _WHOLE:
                bucket.requests = max(0.0, bucket.requests - 1)
                return 0
            retry_after = max(1, math.ceil((_WHOLE - bucket.requests) * _MINUTE / per_minute))
            if bucket.refusals < 1:
                raise TooManyRequests(retry_after)
            bucket.refusals -= 1
            return retry_after

    def _refilled(self, key: tuple[str, str], full: float, now: float) -> _Bucket:
        refusals = full * _REFUSALS_PER_REQUEST
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(full, refusals, now)
            if len(self._buckets) > self._addresses:
                self._buckets.popitem(last=False)
            return bucket
        self._buckets.move_to_end(key)
        passed = max(0.0, now - bucket.at) / _MINUTE
        bucket.requests = min(full, bucket.requests + passed * full)
        bucket.refusals = min(refusals, bucket.refusals + passed * refusals)
        bucket.at = now
        return bucket


def network_of(origin: str) -> str:
    """Return what counts as one address: an IPv4 address, the /64 network of an IPv6 address; other text as it is, cut short."""
    try:
        address = ipaddress.ip_address(origin)
    except ValueError:
        return origin[:_LONGEST_NETWORK]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), _IPV6_PREFIX), strict=False))
