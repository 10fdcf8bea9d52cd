"""The SCEP endpoints: what answers there, and each weak choice in how they are configured."""

from collections.abc import Iterator
from datetime import timedelta

from ca.capability import can_issue
from ca.profiles import profile_named
from foundation.errors import SignetryError
from scep import pending_decisions
from scep.endpoint import Endpoint
from scep.pending import WAITS_FOR_APPROVAL, State
from signetry.doctor.findings import Finding
from signetry.doctor.weak_choices import weak_choices
from signetry.house import House

_RA_EXPIRES_SOON = timedelta(days=20)
_WAITS_LONG = timedelta(days=3)
_LONGEST_WAIT = WAITS_FOR_APPROVAL.days
# A client that polls would have been there since.
_IS_LATE = timedelta(hours=1)


def endpoints(house: House) -> Iterator[Finding]:
    """Look at every endpoint: whether it can answer, and what an administrator should know about how it is configured."""
    for endpoint in house.endpoints.values():
        check = f"endpoint {endpoint.name}"
        try:
            keys = house.authorities.endpoint_keys(endpoint.issuing_ca)
            ra = keys.ra[0]
        except SignetryError as error:
            yield Finding(check, "error", str(error))
            continue
        left = ra.certificate.not_valid_after_utc - house.clock.now()
        if left < _RA_EXPIRES_SOON:
            yield Finding(check, "warning", f"its RA certificate expires in {left.days} days", "is the worker running?")
        yield from weak_choices(house, endpoint)
        for warning, advice in (*_promises(house, endpoint), *_waiting(house, endpoint)):
            yield Finding(check, "warning", warning, advice)
        issued = f"issues {', '.join(sorted(endpoint.profiles))} from {keys.authority.name}"
        yield Finding(check, "ok", f"{issued}, challenge policy {endpoint.challenge}")


def _waiting(house: House, endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    now = house.clock.now()
    with house.transactions.reading() as session:
        found = {each.state: each for each in pending_decisions.backlog(session, now=now) if each.endpoint == endpoint.name}
    waiting = found.get(State.WAITING)
    if waiting is not None and (now - waiting.since > _WAITS_LONG or waiting.count >= endpoint.limits.waiting_at_most):
        yield (
            f"{waiting.count} requests wait for a decision, the oldest for {(now - waiting.since).days} days",
            f"signetry request list; no more than {endpoint.limits.waiting_at_most} may wait, {_LONGEST_WAIT} days each",
        )
    late = found.get(State.LATE)
    if late is not None and now - late.since > _IS_LATE:
        yield f"{late.count} requests have been waiting for a key since {late.since:%Y-%m-%d %H:%M} UTC", "is the token there?"


def _promises(house: House, endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    limits = house.issuing_now(endpoint.issuing_ca).limits
    empty = [name for name in sorted(endpoint.profiles) if not can_issue(limits, profile_named(name), house.organisation)]
    if empty:
        yield (
            f"the certificate of {endpoint.issuing_ca}, or one above it, does not allow {', '.join(empty)}",
            "take them out of its profiles",
        )
