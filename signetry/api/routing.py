"""Routes of the API: what happens to every request before its handler sees it, in the order that gives nothing away.

The caller first (401), then the role (403), then what is asked (400), and the body last, in bounds (413, 415).
"""

from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from fastapi import Depends
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from foundation.errors import BadRequest
from signetry.api.security import Requirement, admit, requirements

BODY_AT_MOST = 1 << 20
# Of the threads of a process, which answer phones as well, these many at most wait for a directory or work through a file.
LENGTHY_AT_ONCE = 2

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class InvalidQuery(BadRequest):
    """The query holds what this route does not know, or what no database takes."""


@dataclass(frozen=True, slots=True)
class _BodyBound:
    most: int

    async def __call__(self) -> None:
        """Do nothing: the route reads the number."""


def body_at_most(most: int) -> Any:  # noqa: ANN401 - what a route's ``dependencies`` take
    """Return the dependency that lets a route read a body of up to ``most`` bytes, where that is not ``BODY_AT_MOST``."""
    return Depends(_BodyBound(most))


class _Lengthy:
    async def __call__(self) -> None:
        """Do nothing: the route sees that it is there."""


# The dependency of a route whose handler may take many seconds: a few of them run at a time, the others wait without a thread.
LENGTHY = Depends(_Lengthy())

# Of each event loop its own: anyio's primitives belong to one.
_LENGTHY_ONES: RunVar[CapacityLimiter] = RunVar("signetry lengthy requests")


class ApiRoute(APIRoute):
    """A route that asks for exactly one permission."""

    def get_route_handler(self) -> Handler:
        """Return the handler with what stands before it."""
        handler = super().get_route_handler()
        requirement = self.requirement
        bound = next((found.most for found in _calls(self.dependant) if isinstance(found, _BodyBound)), BODY_AT_MOST)
        known = frozenset(_query_names(self.dependant))
        takes_json = self.body_field is not None
        is_lengthy = self.is_lengthy

        async def guarded(request: Request) -> Response:
            await run_in_threadpool(admit, request, requirement.permission)
            _check_query(request, known)
            if takes_json:
                _require_json(request)
            asked = Request(request.scope, _bounded(request, bound))
            if not is_lengthy:
                return await handler(asked)
            # Before the turn comes: who sends slowly keeps nobody waiting.
            await asked.body()
            async with _lengthy_ones():
                return await handler(asked)

        return guarded

    @property
    def is_lengthy(self) -> bool:
        """Whether it waits its turn, see ``LENGTHY``."""
        return any(isinstance(found, _Lengthy) for found in _calls(self.dependant))

    @property
    def requirement(self) -> Requirement:
        """What this route asks of its caller."""
        found = list(requirements(self.dependant))
        if len(found) != 1:
            raise TypeError(f"{self.path}: a route takes its caller exactly once, with requires(), not {len(found)} times")
        return found[0]


def router(prefix: str, tag: str) -> APIRouter:
    """Return a router for a resource: its paths begin with ``prefix``, and the documentation shows them under ``tag``."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=ApiRoute)


def _lengthy_ones() -> CapacityLimiter:
    try:
        return _LENGTHY_ONES.get()
    except LookupError:
        _LENGTHY_ONES.set(limiter := CapacityLimiter(LENGTHY_AT_ONCE))
        return limiter


def _calls(dependant: Dependant) -> Iterator[object]:
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from _calls(dependency)


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (parameter.alias for parameter in dependant.query_params)
    for dependency in dependant.dependencies:
        yield from _query_names(dependency)


def _check_query(request: Request, known: frozenset[str]) -> None:
    for name, value in request.query_params.multi_items():
        if name not in known:
            # A filter that is spelled wrong would otherwise find everything.
            allowed = ", ".join(sorted(known)) or "none"
            raise InvalidQuery(f"the query holds a parameter that is not known here; known: {allowed}")
        if "\0" in value:
            raise InvalidQuery(f"{name}: a NUL character")
    if any("\0" in str(value) for value in request.path_params.values()):
        raise InvalidQuery("the path holds a NUL character")


def _require_json(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    empty = request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers
    if media_type != "application/json" and not empty:
        raise HTTPException(415, "the body of this request is application/json")


def _bounded(request: Request, most: int) -> Receive:
    declared = request.headers.get("content-length", "")
    too_large = HTTPException(413, f"the body of this request has up to {most} bytes")
    if declared.isdecimal() and int(declared) > most:
        raise too_large
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > most:
            raise too_large
        return message

    return receive
