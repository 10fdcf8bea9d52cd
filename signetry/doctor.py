"""``signetry doctor``: finds what is wrong before a user does, and says what to do about it."""

import ipaddress
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import packages_distributions
from typing import Literal
from urllib.parse import urlsplit

from cryptography import x509
from sqlmodel import Session

from ca import hierarchy
from ca.hierarchy import AuthorityRecord
from crl import publication
from foundation.errors import SignetryError
from signetry import tls
from signetry.assembly import House

Severity = Literal["ok", "warning", "error"]

# The folders that this distribution ships as top-level packages: another one that ships the same would overwrite them.
PACKAGES = ("foundation", "audit", "ca", "people", "scep", "crl", "signetry")

_EXPIRES_SOON = timedelta(days=90)
_RA_EXPIRES_SOON = timedelta(days=20)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; ``advice`` is what an administrator can do, where something is to be done."""

    check: str
    severity: Severity
    finding: str
    advice: str = ""


Check = Callable[[House], Iterator[Finding]]


def examine(house: House) -> list[Finding]:
    """Run every check over an installation; one that fails unexpectedly is itself a finding."""
    found: list[Finding] = []
    for check in (_packages, _database, _public_url, _authorities, _endpoints, _crls, _tls, _service):
        name = check.__name__.removeprefix("_").replace("_", " ")
        try:
            found += list(check(house))
        except SignetryError as error:
            found.append(Finding(name, "error", str(error)))
    return found


def _packages(house: House) -> Iterator[Finding]:  # noqa: ARG001 - the shape of a check
    providers = packages_distributions()
    for package in PACKAGES:
        others = sorted({name for name in providers.get(package, []) if name.lower() != "signetry"})
        if others:
            yield Finding(
                "packages",
                "error",
                f"the package {package} is also installed by {', '.join(others)}",
                "install signetry into a virtual environment of its own",
            )
    yield Finding("packages", "ok", f"{len(PACKAGES)} packages, in this environment for signetry alone or checked above")


def _database(house: House) -> Iterator[Finding]:
    house.database.check_schema()
    yield Finding("database", "ok", f"{house.settings.database.get_backend_name()}, schema up to date")


def _public_url(house: House) -> Iterator[Finding]:
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
    """Say whether a host name or address means this very machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _authorities(house: House) -> Iterator[Finding]:
    with house.transactions.reading() as session:
        records = hierarchy.authorities(session)
        due = {record.name: hierarchy.is_reissue_due(session, record.name, house.settings.public_url) for record in records}
    for record in records:
        yield _authority(house, record)
        if due[record.name]:
            yield Finding(
                f"authority {record.name}",
                "warning",
                "its certificate points at an earlier public_url",
                f"restart the service, or run signetry ca reissue {record.name}",
            )


def _authority(house: House, record: AuthorityRecord) -> Finding:
    check = f"authority {record.name}"
    if record.revoked_at is not None:
        return Finding(check, "error", "its certificate is revoked")
    house.authority(record.name)
    left = record.not_after - house.clock.now()
    if left < _EXPIRES_SOON:
        return Finding(check, "warning", f"its certificate expires in {left.days} days", "plan its succession")
    return Finding(check, "ok", f"{record.subject}, {record.key_algorithm}, key opens, valid until {record.not_after:%Y-%m-%d}")


def _endpoints(house: House) -> Iterator[Finding]:
    for endpoint in house.endpoints.values():
        check = f"endpoint {endpoint.name}"
        ra = house.authorities.endpoint_keys(endpoint.issuing_ca).ra[0]
        left = ra.certificate.not_valid_after_utc - house.clock.now()
        if left < _RA_EXPIRES_SOON:
            yield Finding(check, "warning", f"its RA certificate expires in {left.days} days", "is the worker running?")
        if endpoint.museum:
            yield Finding(check, "warning", "museum accepts single DES, which anybody can break", "keep it off the Internet")
        elif endpoint.legacy:
            yield Finding(check, "warning", "legacy accepts SHA-1 and triple DES", "switch it off once the old clients are gone")
        if endpoint.renew_after == 0:
            yield Finding(check, "warning", "renew_after = 0 lets a certificate be renewed at any time, without end")
        yield Finding(check, "ok", f"issues {', '.join(sorted(endpoint.profiles))} from {endpoint.issuing_ca}")


def _crls(house: House) -> Iterator[Finding]:
    with house.transactions.reading() as session:
        for record in hierarchy.authorities(session):
            yield _crl(session, house, record)


def _crl(session: Session, house: House, record: AuthorityRecord) -> Finding:
    check = f"CRL of {record.name}"
    head = publication.current(session, record.id)
    if head is None:
        return Finding(check, "error", "none has been published yet", "start the service, or run signetry crl issue")
    left = head.next_update - house.clock.now()
    if left <= timedelta(0):
        return Finding(
            check, "error", f"expired on {head.next_update:%Y-%m-%d %H:%M} UTC", "start the service; is the key there?"
        )
    if left < (head.next_update - head.this_update) / 4:
        return Finding(check, "warning", f"expires at {head.next_update:%Y-%m-%d %H:%M} UTC", "is the worker running?")
    return Finding(check, "ok", f"number {head.number}, {head.entry_count} entries, until {head.next_update:%Y-%m-%d %H:%M} UTC")


def _tls(house: House) -> Iterator[Finding]:
    certificate = x509.load_pem_x509_certificate(tls.files(house.settings).certificate.read_bytes())
    left = certificate.not_valid_after_utc - house.clock.now()
    if left < timedelta(days=14):
        yield Finding("TLS", "warning", f"the web server's certificate expires in {left.days} days")
    else:
        yield Finding("TLS", "ok", f"the web server's certificate is valid until {certificate.not_valid_after_utc:%Y-%m-%d}")


def _service(house: House) -> Iterator[Finding]:
    address = house.settings.public_listen
    try:
        with socket.create_connection((address.host, address.port), timeout=2):
            yield Finding("service", "ok", f"listening on {address}")
    except OSError:
        yield Finding("service", "warning", f"nothing listens on {address}", "signetry serve")
