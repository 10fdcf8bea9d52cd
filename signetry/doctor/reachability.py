"""How phones and relying parties reach the service: its address, its TLS certificate, whether it listens."""

import ipaddress
import socket
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

from signetry import tls
from signetry.doctor.findings import Finding
from signetry.errors import ConfigurationError
from signetry.house import House
from signetry.server import public_address

_TLS_EXPIRES_SOON = timedelta(days=14)


def public_url(house: House) -> Iterator[Finding]:
    """Look at the address that goes into certificates."""
    url = house.settings.public_url
    host = urlsplit(url).hostname or ""
    if is_loopback(host):
        yield Finding(
            "public_url",
            "warning",
            f"{url} is a loopback address: nobody but this machine can fetch the CRLs that certificates point to",
            "set public_url in the settings file before real devices enrol; the next start re-issues the issuing CA",
        )
    elif url.startswith("https:"):
        yield Finding(
            "public_url",
            "warning",
            f"{url} needs TLS: a relying party would have to check a certificate in order to check a certificate",
            "use http:// for CRLs and issuer certificates (RFC 5280 section 8)",
        )
    else:
        yield Finding("public_url", "ok", url)


def is_loopback(host: str) -> bool:
    """Say whether a host name or address means this very machine; the unspecified address does when it is dialled."""
    name = host.rstrip(".").lower()
    if name in ("localhost", "localhost.localdomain") or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback or address.is_unspecified


def tls_pair(house: House) -> Iterator[Finding]:
    """Look at the web server's certificate and key."""
    files = tls.files(house.settings)
    try:
        pair = tls.read_pair(files, house.clock)
    except ConfigurationError as error:
        advice = (
            "run signetry init" if files.root else "a running service keeps the pair before; mend tls_certificate and tls_key"
        )
        yield Finding("TLS", "error", str(error), advice)
        return
    left = pair.not_after - house.clock.now()
    if left < _TLS_EXPIRES_SOON:
        advice = "is the worker running?" if files.root else "give tls_certificate a new one; it is taken up without a restart"
        yield Finding("TLS", "warning", f"the web server's certificate expires in {left.days} days", advice)
    else:
        yield Finding("TLS", "ok", f"the web server's certificate is valid until {pair.not_after:%Y-%m-%d}")


def service(house: House) -> Iterator[Finding]:
    """Look whether the service listens."""
    address = public_address(house.settings)
    try:
        with socket.create_connection((address.host, address.port), timeout=2):
            yield Finding("service", "ok", f"listening on {address}")
    except OSError:
        yield Finding("service", "warning", f"nothing listens on {address}", "signetry serve")
