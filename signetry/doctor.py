"""``signetry doctor``: finds what is wrong before a user does, and says what to do about it."""

import ipaddress
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import packages_distributions
from typing import Literal
from urllib.parse import urlsplit

from sqlmodel import Session

from ca import hierarchy
from ca.capability import can_issue
from ca.hierarchy import AuthorityRecord
from ca.profiles import profile_named
from crl import publication
from foundation.errors import SignetryError
from scep.endpoint import Endpoint
from signetry import tls
from signetry.errors import ConfigurationError
from signetry.house import House
from signetry.logging import log_reference
from signetry.server import public_address

Severity = Literal["ok", "warning", "error"]

# The folders that this distribution ships as top-level packages: another one that ships the same would overwrite them.
PACKAGES = ("foundation", "audit", "ca", "people", "scep", "crl", "ldap_publish", "signetry")

_EXPIRES_SOON = timedelta(days=90)
_RA_EXPIRES_SOON = timedelta(days=20)
# A worker looks five times a second, and a lease that its worker did not live to settle lapses after 30 seconds.
_WORKER_IS_LATE = timedelta(minutes=2)
_TLS_EXPIRES_SOON = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; ``advice`` is what an administrator can do, where something is to be done."""

    check: str
    severity: Severity
    finding: str
    advice: str = ""


Check = Callable[[House], Iterator[Finding]]


def examine(house: House) -> list[Finding]:
    """Run every check over an installation; one that fails, expectedly or not, is itself a finding."""
    found: list[Finding] = []
    for check in (_packages, _public_url, _tls, _service):
        found += _run(check, house)
    database = _run(_database, house)
    found += database
    # Without its tables the others would all say the same, in worse words.
    if all(finding.severity == "ok" for finding in database):
        for check in (_authorities, _endpoints, _crls):
            found += _run(check, house)
    return found


def _run(check: Check, house: House) -> list[Finding]:
    name = check.__name__.removeprefix("_")
    found: list[Finding] = []
    try:
        # One by one, so that what was found before a failure is not lost.
        found.extend(check(house))
    except SignetryError as error:
        found.append(Finding(name, "error", str(error)))
    except Exception as error:  # noqa: BLE001 - a doctor that falls ill is of no use
        reference = log_reference(error, "a check of the doctor failed", check=name)
        found.append(Finding(name, "error", f"the check failed (log reference {reference}): {type(error).__name__}"))
    return found


def _packages(house: House) -> Iterator[Finding]:  # noqa: ARG001 - the shape of a check
    providers = packages_distributions()
    others = {
        package: sorted({name for name in providers.get(package, []) if name.lower() != "signetry"}) for package in PACKAGES
    }
    for package, names in others.items():
        if names:
            yield Finding(
                "packages",
                "error",
                f"the package {package} is also installed by {', '.join(names)}",
                "install signetry into a virtual environment of its own",
            )
    if not any(others.values()):
        yield Finding("packages", "ok", f"no other distribution has a package called {', '.join(PACKAGES)}")


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


def _authorities(house: House) -> Iterator[Finding]:
    with house.transactions.reading() as session:
        records = hierarchy.authorities(session)
        due = {record.name: house.is_reissue_due(session, record.name) for record in records}
        awaited = hierarchy.awaiting_certificate(session)
    for name in awaited:
        yield Finding(
            f"authority {name}",
            "error",
            "it has no certificate yet",
            f"have the request of signetry ca csr {name} signed by the authority above, then run signetry ca install FILE",
        )
    if not records and not awaited:
        yield Finding("authorities", "error", "there is no authority yet", "run signetry init, it goes on where it stopped")
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
    if record.is_ours:
        try:
            house.authority(record.name)
        except SignetryError as error:
            return Finding(check, "error", str(error))
    left = record.not_after - house.clock.now()
    if left <= timedelta(0):
        return Finding(check, "error", f"its certificate expired on {record.not_after:%Y-%m-%d}", _succession(record))
    if left < _EXPIRES_SOON:
        return Finding(check, "warning", f"its certificate expires in {left.days} days", _succession(record))
    key = "key opens" if record.is_ours else "not ours"
    return Finding(check, "ok", f"{record.subject}, {record.key_algorithm}, {key}, valid until {record.not_after:%Y-%m-%d}")


def _succession(record: AuthorityRecord) -> str:
    return "plan its succession" if record.is_ours else "ask those whose it is for its successor, and install that"


def _endpoints(house: House) -> Iterator[Finding]:
    for endpoint in house.endpoints.values():
        check = f"endpoint {endpoint.name}"
        try:
            ra = house.authorities.endpoint_keys(endpoint.issuing_ca).ra[0]
        except SignetryError as error:
            yield Finding(check, "error", str(error))
            continue
        left = ra.certificate.not_valid_after_utc - house.clock.now()
        if left < _RA_EXPIRES_SOON:
            yield Finding(check, "warning", f"its RA certificate expires in {left.days} days", "is the worker running?")
        for warning, advice in (*_leniencies(endpoint), *_promises(house, endpoint)):
            yield Finding(check, "warning", warning, advice)
        yield Finding(check, "ok", f"issues {', '.join(sorted(endpoint.profiles))} from {endpoint.issuing_ca}")


def _leniencies(endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    if endpoint.museum:
        yield "museum accepts single DES, which anybody can break", "keep it off the Internet"
    elif endpoint.legacy:
        yield "legacy accepts SHA-1 and triple DES", "switch it off once the old clients are gone"
    if endpoint.renew_after == 0:
        yield "renew_after = 0 lets a certificate be renewed at any time, without end", "0.66 is the default"


def _promises(house: House, endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    limits = house.authority(endpoint.issuing_ca).limits
    empty = [name for name in sorted(endpoint.profiles) if not can_issue(limits, profile_named(name), house.organisation)]
    if empty:
        yield (
            f"the certificate of {endpoint.issuing_ca}, or one above it, does not allow {', '.join(empty)}",
            "take them out of its profiles",
        )


def _crls(house: House) -> Iterator[Finding]:
    with house.transactions.reading() as session:
        for record in hierarchy.authorities(session):
            if record.is_ours:
                yield _crl(session, house, record)
        due = publication.next_due(session)
    overdue = house.clock.now() - due if due is not None else timedelta(0)
    if overdue > _WORKER_IS_LATE:
        minutes = int(overdue.total_seconds() // 60)
        yield Finding("worker", "warning", f"a CRL has been due for {minutes} minutes", "is the service running?")


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


def _service(house: House) -> Iterator[Finding]:
    address = public_address(house.settings)
    try:
        with socket.create_connection((address.host, address.port), timeout=2):
            yield Finding("service", "ok", f"listening on {address}")
    except OSError:
        yield Finding("service", "warning", f"nothing listens on {address}", "signetry serve")
