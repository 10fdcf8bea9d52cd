"""Deliveries of keys in the processes of an installation: the page behind links, and the end of what nobody fetched."""

from functools import partial

from starlette.routing import Route

from pkcs_import import delivery_ends
from pkcs_import import http as links
from scep.errors import TooManyRequests
from scep.limits import AddressLimiter
from signetry.house import House
from signetry.jobs import Job

_LIMITED = "delivery links"


def routes(house: House) -> list[Route]:
    """Return the route of the page behind links, for the device listener."""
    limiter = AddressLimiter()

    def admit(origin: str) -> int:
        try:
            return limiter.admit(_LIMITED, origin, per_minute=house.settings.archive.link_requests_per_minute)
        except TooManyRequests as error:
            return error.retry_after

    return links.routes(house.transactions, house.clock, admit=admit, listeners=house.handed_listeners)


def expiry_job(house: House) -> Job:
    """Return the worker's job of ending deliveries whose time is up: what was packed does not lie about."""
    run = partial(delivery_ends.sweep, house.transactions, house.clock, house.actor, house.ended_listeners)
    return Job("expired-deliveries", run=run, next_due=delivery_ends.next_due)
