"""What people and programs read about the API, without a token: the OpenAPI document, Swagger UI, and what problems mean.

    /api/openapi.json        OpenAPI 3.1
    /api/docs                Swagger UI, from the package swagger_ui_bundle; nothing is loaded from anywhere else
    /api/problems            what each ``type`` of a problem means

The packaged Swagger UI (4.15) refuses OpenAPI 3.1, so it gets the same document as 3.0.3, under ``/api/docs/openapi.json``.
"""

import html
import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from swagger_ui_bundle import swagger_ui_path

from signetry.api.problems import KINDS, PROBLEMS_PATH

_PATH = "/api/docs"
_FILES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
# The page's own scripts and styles, the document, and pictures that the style sheet holds; React sets style attributes.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_HEADERS = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
_PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Signetry API</title>
<link rel="stylesheet" href="{_PATH}/swagger-ui.css">
<link rel="icon" type="image/png" href="{_PATH}/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{_PATH}/swagger-ui-bundle.js"></script>
<script src="{_PATH}/start.js"></script>
</body>
</html>
"""
_START = f"""SwaggerUIBundle({{
  url: "{_PATH}/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
}});
"""


def routes(document: Callable[[], dict[str, Any]]) -> list[BaseRoute]:
    """Return the routes; ``document`` makes the OpenAPI document, and is asked once, when somebody wants it."""

    @cache
    def current() -> bytes:
        return json.dumps(document(), ensure_ascii=False, separators=(",", ":")).encode()

    @cache
    def older() -> bytes:
        return json.dumps(as_3_0(json.loads(current())), ensure_ascii=False, separators=(",", ":")).encode()

    # Plain functions: Starlette runs them in a thread, and nobody waits for the document.
    def openapi(_request: Request) -> Response:
        return Response(current(), media_type="application/json")

    def openapi_3_0(_request: Request) -> Response:
        return Response(older(), headers=_HEADERS, media_type="application/json")

    def page(_request: Request) -> Response:
        return HTMLResponse(_PAGE, headers=_HEADERS)

    def start(_request: Request) -> Response:
        return Response(_START, headers=_HEADERS, media_type="text/javascript")

    def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _FILES:
            raise HTTPException(404)
        return Response(swagger_ui_path.joinpath(name).read_bytes(), headers=_HEADERS, media_type=_FILES[name])

    def problems(_request: Request) -> Response:
        return HTMLResponse(_problems_page())

    return [
        Route("/api/openapi.json", openapi),
        Route(_PATH, page),
        Route(f"{_PATH}/", page),
        Route(f"{_PATH}/start.js", start),
        Route(f"{_PATH}/openapi.json", openapi_3_0),
        Route(f"{_PATH}/{{name}}", file),
        Route(PROBLEMS_PATH, problems),
    ]


def as_3_0(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an OpenAPI 3.1 document as one of 3.0.3, as far as ours use what is new in 3.1."""
    return {**{key: _as_3_0(value) for key, value in document.items()}, "openapi": "3.0.3"}


def _as_3_0(part: Any) -> Any:  # noqa: ANN401 - any part of a JSON document
    if isinstance(part, list):
        return [_as_3_0(item) for item in part]
    if not isinstance(part, dict):
        return part
    older = {key: _as_3_0(value) for key, value in part.items()}
    # A list is a schema's examples; an operation's are an object in both.
    if isinstance(older.get("examples"), list):
        older["example"] = older.pop("examples")[0]
    if "const" in older:
        older["enum"] = [older.pop("const")]
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(older.get(bound), (int, float)):
            older[limit], older[bound] = older[bound], True
    return _nullable(older)


def _nullable(older: dict[str, Any]) -> dict[str, Any]:
    """Say "or null" as 3.0 does, where one alternative among several is null."""
    alternatives = older.get("anyOf")
    if not isinstance(alternatives, list) or {"type": "null"} not in alternatives:
        return older
    others = [item for item in alternatives if item != {"type": "null"}]
    rest = {key: value for key, value in older.items() if key != "anyOf"} | {"nullable": True}
    if len(others) == 1 and "$ref" not in others[0]:
        return {**others[0], **rest}
    return {**rest, "anyOf": others} if len(others) > 1 else {**rest, "allOf": others}


def _problems_page() -> str:
    rows = "".join(
        f'<h2 id="{kind.name}">{kind.name}</h2><p>{kind.status}. {html.escape(kind.title)}. {html.escape(kind.help)}</p>'
        for kind in KINDS
    )
    return f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Problems</title><h1>Problems</h1>{rows}</html>'
