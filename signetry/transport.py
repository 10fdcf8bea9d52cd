"""What the TLS listeners tell browsers: HTTP Strict Transport Security, and what must not be done with answers.

Sources: RFC 6797 (HSTS); OWASP Secure Headers. A host name that a browser has been told to visit by TLS only is bound on every
port (RFC 6797 section 8.3), and the public listener is plain HTTP for good reasons: so where a request names the very host of
``public_url``, that is left unsaid. What is said to an IP address binds nothing (section 8.1.1).
"""

import ipaddress
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from signetry.settings import Settings

Header = tuple[bytes, bytes]

# A route may say otherwise of its own answers: the first to name a header wins.
_BROWSER_HEADERS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"cache-control", b"no-store"),
)
_UNKNOWN = "unknown"
_REMEMBERED_ADDRESSES = 4096
_LONGEST_ADDRESS = 64


@dataclass(frozen=True, slots=True)
class TransportPolicy:
    """What a TLS listener says.

    Attributes:
        hsts_max_age: for how many seconds browsers are to remember; 0 says nothing.
        plain_host: the host of ``public_url`` where that is plain HTTP, in lower case; empty where it is not.
    """

    hsts_max_age: int = 0
    plain_host: str = ""

    def headers(self, request_headers: Iterable[Header]) -> tuple[Header, ...]:
        """Return what belongs into the answer to a request with ``request_headers``."""
        if not self.hsts_max_age:
            return _BROWSER_HEADERS
        host = _host(request_headers)
        if not host or _is_own_machine(host) or (host == self.plain_host and not _is_address(host)):
            return _BROWSER_HEADERS
        return (*_BROWSER_HEADERS, (b"strict-transport-security", b"max-age=%d" % self.hsts_max_age))


def transport_policy(settings: Settings) -> TransportPolicy:
    """Return what the settings make of it."""
    url = urlsplit(settings.public_url)
    plain_host = _bare(url.hostname or "") if url.scheme == "http" else ""
    return TransportPolicy(settings.hsts_max_age, plain_host)


@lru_cache(maxsize=_REMEMBERED_ADDRESSES)
def client_address(host: str) -> str:
    """Return a peer's address as logs and the audit record hold it.

    An IPv4 peer of an IPv6 socket is written in IPv4; what a proxy forwarded and is no address is ``unknown``.
    """
    try:
        # A scope (fe80::1%eth0) is of no use to a reader, and of any length.
        address = ipaddress.ip_address(host.partition("%")[0]) if len(host) <= _LONGEST_ADDRESS else None
    except ValueError:
        address = None
    if address is None:
        return _UNKNOWN
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def with_client_address(scope: MutableMapping[str, Any]) -> None:
    """Put the client's address in ``scope`` into the form of ``client_address``."""
    client = scope.get("client")
    if client:
        scope["client"] = (client_address(client[0]), client[1])


def _host(headers: Iterable[Header]) -> str:
    named = next((value for name, value in headers if name == b"host"), b"").decode("latin-1")
    try:
        return _bare(urlsplit(f"//{named}").hostname or "")
    except ValueError:
        return ""


def _bare(host: str) -> str:
    # With its final dot it is the same name (RFC 6797 section 8.2 compares names without).
    return host.lower().removesuffix(".")


def _is_own_machine(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
