"""The API described for programs: OpenAPI 3.1, with the roles of every operation and an example of everything it takes and gives.

What FastAPI writes is completed here, in one place for all resources: the bearer scheme, ``x-roles``, the problems that any
operation may answer with, and the examples, which the models hold.
"""

from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import RouteContext, iter_route_contexts
from pydantic import BaseModel

from signetry.access.roles import roles_with
from signetry.api.models import Asked, Shown
from signetry.api.problems import KINDS, MEDIA_TYPE, Problem
from signetry.api.routing import ApiRoute

_DESCRIPTION = """\
Everything the command line does. Send a token as `Authorization: Bearer sgt_…`; `signetry token create` makes one, and
`x-roles` of an operation says which roles may. Errors are problems (RFC 9457), lists come in pages (`limit`, `after`, a `Link`
header), and what creates takes an `Idempotency-Key`."""

_REFERENCE = "#/components/schemas/"
_ANYWHERE = ("bad-request", "not-authenticated", "not-authorised", "unavailable")
_ON_A_PATH = ("not-found",)
_ON_A_WRITE = ("not-found", "conflict", "too-large", "unsupported-media-type")


def routes_of(app: FastAPI) -> Iterator[tuple[str, ApiRoute]]:
    """Return every operation's route with its path.

    Raises:
        TypeError: a route was not made by ``routing.router``, so nothing would ask who calls.
    """
    for context in iter_route_contexts(app.routes):
        if not isinstance(context.original_route, ApiRoute):
            raise TypeError(f"{context.path} is no ApiRoute: make its router with routing.router()")
        yield str(context.path), context.original_route


def document(app: FastAPI, prefix: str) -> dict[str, Any]:
    """Return the OpenAPI document of ``app``, which is mounted at ``prefix``."""
    described = get_openapi(
        title="Signetry",
        version=metadata.version("signetry"),
        description=_DESCRIPTION,
        routes=list[Any](_contexts(app)),
        servers=[{"url": prefix}],
    )
    components = described.setdefault("components", {})
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "`sgt_…`, from `signetry token create` or `POST /tokens`."}
    }
    components["responses"] = {kind.name: _problem_response(kind.name) for kind in KINDS}
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for model in _models(Asked, Shown):
        # FastAPI leaves out what is null, in examples too.
        if model.__name__ in schemas and "examples" in schemas[model.__name__]:
            schemas[model.__name__]["examples"] = model.model_json_schema()["examples"]
    problem = Problem.model_json_schema(ref_template=_REFERENCE + "{model}")
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    for path, route in routes_of(app):
        for method in route.methods or ():
            _complete(described["paths"][path][method.lower()], path, route, method, schemas)
    return described


def _contexts(app: FastAPI) -> Iterator[RouteContext]:
    yield from iter_route_contexts(app.routes)


def _models(*bases: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for base in bases:
        yield base
        yield from _models(*base.__subclasses__())


def _complete(operation: dict[str, Any], path: str, route: ApiRoute, method: str, schemas: Mapping[str, Any]) -> None:
    roles = [role.value for role in roles_with(route.requirement.permission)]
    operation["security"] = [{"token": []}]
    operation["x-roles"] = roles
    # The first sentence of a handler's docstring is its summary; a browser shows no ``x-roles``.
    operation["summary"] = operation["description"].partition("\n")[0].partition(". ")[0].rstrip(".")
    operation["description"] += f"\n\nRoles: {', '.join(roles)}."
    responses = operation["responses"]
    responses.pop("422", None)
    names = [*_ANYWHERE]
    if "{" in path:
        names += _ON_A_PATH
    if method != "GET":
        names += _ON_A_WRITE
    for kind in KINDS:
        if kind.name in names:
            responses[str(kind.status)] = {"$ref": f"#/components/responses/{kind.name}"}
    if method != "GET":
        # Two kinds share this status.
        responses["422"] = {"$ref": "#/components/responses/refused"}
    responses["default"] = {"$ref": "#/components/responses/internal-error"}
    for content in _contents(operation):
        if "example" not in content and "examples" not in content:
            _add_examples(content, schemas)


def _contents(operation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for part in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from part.get("content", {}).values()


def _add_examples(content: dict[str, Any], schemas: Mapping[str, Any]) -> None:
    examples = _examples(content.get("schema", {}), schemas)
    if examples:
        content["examples"] = {f"example {number}": {"value": value} for number, value in enumerate(examples, 1)}


def _examples(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[Any]:
    """Return the examples of a schema, where it has none itself made from those of its parts."""
    name = str(schema.get("$ref", "")).removeprefix(_REFERENCE)
    schema = schemas[name] if name else schema
    if "examples" in schema:
        return list(schema["examples"])
    if "anyOf" in schema:
        return [example for alternative in schema["anyOf"] for example in _examples(alternative, schemas)]
    if schema.get("type") == "array":
        return [items] if (items := _examples(schema["items"], schemas)) else []
    if set(schema.get("properties", {})) == {"items", "next"}:
        items = _examples(schema["properties"]["items"], schemas)
        return [{"items": items[0], "next": None}] if items else []
    return []


def _problem_response(name: str) -> dict[str, Any]:
    kind = next(kind for kind in KINDS if kind.name == name)
    return {"description": kind.title, "content": {MEDIA_TYPE: {"schema": {"$ref": f"{_REFERENCE}Problem"}}}}
