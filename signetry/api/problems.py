"""Every error of the API as RFC 9457 has it: ``application/problem+json`` with type, title, status, detail and instance.

``type`` names what a program can act upon, and leads to the page that explains it (``/api/problems``). A refusal's ``detail`` is
its message, which is written for the peer; what is no refusal of ours is a defect, of which the peer sees a log reference. Values
that were sent are never repeated: they may be secrets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from foundation.errors import BadRequest, Conflict, NotAuthorised, NotFound, RefusedByPolicy, SignetryError, Unavailable
from signetry.access.errors import KeyReused, NotAuthenticated
from signetry.logging import log_reference

PROBLEMS_PATH = "/api/problems"
MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: the end of its ``type``, its HTTP status, its ``title``, and what to do about it."""

    name: str
    status: int
    title: str
    help: str


KINDS = (
    Kind("bad-request", 400, "The request is malformed", "Correct what `detail` and `errors` name."),
    Kind(
        "not-authenticated", 401, "A valid bearer token is needed", "Send `Authorization: Bearer` with a token that is in force."
    ),
    Kind("not-authorised", 403, "This token may not do this", "Use a token of one of the roles that `detail` names."),
    Kind("not-found", 404, "There is no such thing", "Nothing of this name or number exists, or not for this token."),
    Kind("method-not-allowed", 405, "There is no such method here", "Use one of the methods in the `Allow` header."),
    Kind("conflict", 409, "This contradicts what is recorded", "`detail` says what it contradicts."),
    Kind("too-large", 413, "The request's body is too large", "Send less at once."),
    Kind("unsupported-media-type", 415, "The request's body is of another type", "Send the media type that `detail` names."),
    Kind("refused", 422, "Configuration or policy does not allow this", "`detail` says what does not allow it."),
    Kind("idempotency-key-reused", 422, "The Idempotency-Key came with another request", "Take a new key for a new request."),
    Kind("internal-error", 500, "Something is wrong on our side", "The log says more under `reference`."),
    Kind("unavailable", 503, "Something this needs is down", "Try again; the log and `signetry doctor` say what it is."),
)
_KINDS = {kind.name: kind for kind in KINDS}

# The categories of errors, the special ones first.
_OF_ERRORS: tuple[tuple[type[SignetryError], str], ...] = (
    (NotAuthenticated, "not-authenticated"),
    (KeyReused, "idempotency-key-reused"),
    (BadRequest, "bad-request"),
    (NotAuthorised, "not-authorised"),
    (NotFound, "not-found"),
    (Conflict, "conflict"),
    (RefusedByPolicy, "refused"),
    (Unavailable, "unavailable"),
)
_OF_STATUS = {kind.status: kind.name for kind in reversed(KINDS)}


class InvalidPart(BaseModel):
    """What is wrong with a part of a request."""

    location: Literal["body", "query", "path", "header", "cookie"]
    pointer: str = Field(description="In a body a JSON pointer (RFC 6901), else the parameter's name.")
    detail: str


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": f"{PROBLEMS_PATH}#not-found",
                    "title": "There is no such thing",
                    "status": 404,
                    "detail": "there is no token 17",
                    "instance": "/api/v1/tokens/17",
                }
            ]
        }
    )

    type: str = Field(description="What kind of problem it is; a link to its explanation.")
    title: str
    status: int
    detail: str
    instance: str = Field(description="The path that was asked for.")
    errors: list[InvalidPart] | None = Field(default=None, description="What is wrong with which part of the request.")
    reference: str | None = Field(default=None, description="Under what the log says more.")


def problem(
    request: Request, kind: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: object
) -> JSONResponse:
    """Return the problem ``kind`` as a response."""
    about = _KINDS[kind]
    body = {
        "type": f"{PROBLEMS_PATH}#{about.name}",
        "title": about.title,
        "status": about.status,
        "detail": detail,
        "instance": request.url.path,
        **more,
    }
    return JSONResponse(body, about.status, headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Have ``app`` answer every error with a problem."""
    app.add_exception_handler(SignetryError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _defect)


async def _refused(request: Request, error: Exception) -> Response:
    kind = next((name for category, name in _OF_ERRORS if isinstance(error, category)), "bad-request")
    headers = {}
    if isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, Unavailable):
        headers["Retry-After"] = "5"
    return problem(request, kind, str(error), headers=headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - Starlette's signature is wider than what it hands over
    parts = [_part(found) for found in error.errors()]
    detail = "; ".join(f"{part['pointer'] or part['location']}: {part['detail']}" for part in parts[:3])
    return problem(request, "bad-request", detail, errors=parts)


def _part(error: Mapping[str, Any]) -> dict[str, str]:
    location, *path = error["loc"]
    if error["type"] == "json_invalid":
        return {"location": "body", "pointer": "", "detail": f"not JSON: {error['ctx']['error']} at {path[0]}"}
    pointer = _pointer(path) if location == "body" else ".".join(str(step) for step in path)
    return {"location": str(location), "pointer": pointer, "detail": str(error["msg"])}


def _pointer(path: Sequence[str | int]) -> str:
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    kind = _OF_STATUS.get(error.status_code, "bad-request")
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # The framework names those of one of the path's routes; RFC 9110 section 15.5.6 wants those of all.
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    return problem(request, kind, error.detail, headers=headers)


def _methods(request: Request) -> set[str]:
    """Return the methods that some route of the application has for the request's path."""
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    return {method for route in request.app.state.routes if route.path_regex.match(path) for method in route.methods}


async def _gone(request: Request, _error: Exception) -> Response:
    # Nobody reads it; without a handler it would count as a defect.
    return problem(request, "bad-request", "the request did not arrive whole")


async def _defect(request: Request, error: Exception) -> Response:
    # In a thread: writing a traceback to a slow stderr must not stop the others.
    reference = await run_in_threadpool(log_reference, error, path=request.url.path)
    return problem(request, "internal-error", "internal error", reference=reference)
