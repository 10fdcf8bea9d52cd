"""The three ASGI applications, one a listener: health, the routes handed in, and an answer to everything else."""

import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foundation.errors import BadRequest, Conflict, NotAuthorised, NotFound, RefusedByPolicy, SignetryError, Unavailable
from signetry.logging import log_reference
from signetry.transport import TransportPolicy, with_client_address

_log = structlog.get_logger("signetry.http")
_LEVEL = logging.getLogger("signetry.http")

# The one place where a category of error becomes an HTTP status.
_STATUS: dict[type[SignetryError], int] = {
    BadRequest: 400,
    NotAuthorised: 403,
    NotFound: 404,
    Conflict: 409,
    RefusedByPolicy: 422,
    Unavailable: 503,
}


@dataclass(frozen=True, slots=True)
class ReadinessCheck:
    """Something without which the service must not be sent requests; ``check`` raises ``SignetryError`` with the reason."""

    name: str
    check: Callable[[], None]


def _nothing() -> None:
    """Start or stop nothing."""


# Told of each request that was answered: the listener, the status (0 where none was sent) and the request's scope.
ResponseObserver = Callable[[str, int, Scope], None]


def _unobserved(_listener: str, _status: int, _scope: Scope) -> None:
    """Tell nobody."""


class Direct(Protocol):
    """An application that its requests reach past all routing: the hot path. Its routes answer what comes by another method."""

    def takes(self, path: str) -> bool:
        """Say whether a path is one of its own."""
        ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a GET or POST."""
        ...


@dataclass(frozen=True, slots=True)
class WebParts:
    """What a web process serves: the composition root builds it, the three applications mount it.

    ``start`` runs before the first request is taken, ``stop`` after the last one is answered; ``observer`` is told of each.
    ``direct`` is on the public and the device listener.
    """

    public_routes: Sequence[BaseRoute] = ()
    device_routes: Sequence[BaseRoute] = ()
    direct: Direct | None = None
    admin_routes: Sequence[BaseRoute] = ()
    readiness: Sequence[ReadinessCheck] = ()
    start: Callable[[], None] = _nothing
    stop: Callable[[], None] = _nothing
    observer: ResponseObserver = _unobserved


_SAYING_NOTHING = TransportPolicy()


def public_app(parts: WebParts) -> ASGIApp:
    """Return what the public listener serves: SCEP, CRLs, issuer certificates, health."""
    app = Starlette(routes=[*_health(parts), *parts.public_routes], exception_handlers=_HANDLERS)
    return Guard(_behind(parts.direct, app), listener="public", observer=parts.observer)


def device_app(parts: WebParts, policy: TransportPolicy = _SAYING_NOTHING) -> ASGIApp:
    """Return what phones and persons reach over HTTPS."""
    app = Starlette(routes=[*_health(parts), *parts.device_routes], exception_handlers=_HANDLERS)
    return Guard(_behind(parts.direct, app), listener="device", policy=policy, observer=parts.observer)


def admin_app(parts: WebParts, policy: TransportPolicy = _SAYING_NOTHING) -> ASGIApp:
    """Return what administrators reach over HTTPS."""
    app = Starlette(routes=[*_health(parts), *parts.admin_routes], exception_handlers=_HANDLERS)
    # A redirect to the path with, or without, a slash at its end would lead to whatever host the request names.
    app.router.redirect_slashes = False
    return Guard(app, listener="admin", policy=policy, observer=parts.observer)


def _behind(direct: Direct | None, app: ASGIApp) -> ASGIApp:
    if direct is None:
        return app

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "POST") or not direct.takes(scope["path"]):
            await app(scope, receive, send)
            return
        try:
            await direct(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - as Starlette would: answered, logged, and the connection goes on
            response = await _defect(Request(scope), error)
            await response(scope, receive, send)

    return serve


def _health(parts: WebParts) -> list[Route]:
    async def alive(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    def ready(_request: Request) -> Response:
        reasons = {item.name: reason for item in parts.readiness if (reason := _reason(item)) is not None}
        if reasons:
            return JSONResponse({"status": "not ready", "reasons": reasons}, 503, {"Retry-After": "5"})
        return JSONResponse({"status": "ready"})

    return [Route("/healthz", alive), Route("/readyz", ready)]


def _reason(item: ReadinessCheck) -> str | None:
    try:
        item.check()
    except SignetryError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a broken check is a reason not to be ready
        return f"the check failed (log reference {log_reference(error, 'readiness check failed', check=item.name)})"
    return None


def _problem(request: Request, status: int, detail: str, **more: str) -> JSONResponse:
    """Return a problem of no particular type as RFC 9457 shapes it: its title is the status's own."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse({**document, "instance": request.url.path, **more}, status, media_type="application/problem+json")


async def _refused(request: Request, error: Exception) -> Response:
    status = next((number for category, number in _STATUS.items() if isinstance(error, category)), 400)
    return _problem(request, status, str(error))


async def _http_error(request: Request, error: HTTPException) -> Response:
    response = _problem(request, error.status_code, error.detail)
    response.headers.update(error.headers or {})
    return response


async def _defect(request: Request, error: Exception) -> Response:
    # In a thread: writing a traceback to a slow stderr must not stop the others.
    reference = await run_in_threadpool(log_reference, error, path=request.url.path)
    return _problem(request, 500, "internal error", reference=reference)


async def _gone(request: Request, _error: Exception) -> Response:
    # Nobody reads it; without a handler it would count as a defect.
    return _problem(request, 400, "the request did not arrive whole")


_HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    SignetryError: _refused,
    HTTPException: _http_error,
    ClientDisconnect: _gone,
    Exception: _defect,
}


class Guard:
    """Around a whole application: headers on a TLS listener, a line for each request at ``debug``, an end to every exception.

    The line is without the query.

    Starlette answers an unknown exception and then raises it again, for the server to log; ``_defect`` has done that.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        listener: str,
        policy: TransportPolicy | None = None,
        observer: ResponseObserver = _unobserved,
    ) -> None:
        self._app = app
        self._observer = observer
        self._listener = listener
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = time.monotonic()
        status = 0
        with_client_address(scope)
        headers = self._policy.headers(scope["headers"]) if self._policy else ()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(item for item in headers if item[0] not in present)]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception:
            # Answered and logged; without an answer the connection is of no use to anybody, and the server closes it.
            if status == 0:
                raise
        finally:
            self._observer(self._listener, status, scope)
            # Asked first: to find out by itself costs structlog a fifth of what all of HTTP costs an enrolment.
            if _LEVEL.isEnabledFor(logging.DEBUG):
                milliseconds = round((time.monotonic() - started) * 1000, 1)
                client = (scope.get("client") or ("",))[0]
                _log.debug(
                    "request",
                    listener=self._listener,
                    method=scope.get("method"),
                    path=scope.get("path"),
                    status=status,
                    milliseconds=milliseconds,
                    client=client,
                )
