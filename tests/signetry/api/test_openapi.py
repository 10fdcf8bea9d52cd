"""What the API says of itself: complete, with examples that are true, and readable in a browser without anybody else's server."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from signetry.api.docs import as_3_0
from signetry.api.problems import KINDS
from tests.signetry.api.conftest import Api

Document = dict[str, Any]


@pytest.fixture
def document(api: Api) -> Document:
    """The OpenAPI document."""
    answer = api.client.get("/api/openapi.json")
    assert answer.status_code == 200
    found: Document = answer.json()
    return found


def operations(document: Document) -> Iterator[tuple[str, Document]]:
    for path, items in document["paths"].items():
        for method, operation in items.items():
            yield f"{method.upper()} {path}", operation


def contents(operation: Document) -> Iterator[tuple[str, Document]]:
    yield from operation.get("requestBody", {}).get("content", {}).items()
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            yield from response.get("content", {}).items()


def references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for item in part:
            yield from references(item)


def test_the_document_is_of_openapi_3_1_and_whole(document: Document) -> None:
    assert document["openapi"].startswith("3.1.")
    assert document["servers"] == [{"url": "/api/v1"}]
    for reference in references(document):
        part = document
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]


def test_every_operation_has_a_name_of_its_own_and_says_what_it_does(document: Document) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"].rstrip().endswith((".", ".*", "`")), name


def test_every_operation_says_how_it_is_secured_and_which_problems_it_has(document: Document) -> None:
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for name, operation in operations(document):
        assert operation["security"] == [{"token": []}], name
        assert operation["x-roles"], name
        assert {"400", "401", "403", "503", "default"} <= set(operation["responses"]), name
    assert set(document["components"]["responses"]) == {kind.name for kind in KINDS}
    assert "ValidationError" not in json.dumps(document)


def test_every_json_body_has_an_example_that_fits_its_schema(document: Document) -> None:
    missing, wrong = [], []
    for name, operation in operations(document):
        for media_type, content in contents(operation):
            if media_type != "application/json":
                continue
            examples = [example["value"] for example in content.get("examples", {}).values()]
            if not examples:
                missing.append(name)
            schema = {**content["schema"], "components": document["components"]}
            validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
            wrong += [(name, str(error)) for example in examples for error in validator.iter_errors(example)]
    assert (missing, wrong) == ([], [])


def unbounded(schema: Document, document: Document, where: str) -> Iterator[str]:
    """Yield the places in a schema where an input may be as long or as large as it likes."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from unbounded(document["components"]["schemas"][name], document, where)
        return
    for alternative in schema.get("anyOf", ()):
        yield from unbounded(alternative, document, where)
    bounds = {"string": ("maxLength", "enum", "const", "format"), "integer": ("maximum",), "array": ("maxItems",)}
    wanted = bounds.get(schema.get("type", ""))
    if wanted and not any(bound in schema for bound in wanted):
        yield where
    if "items" in schema:
        yield from unbounded(schema["items"], document, f"{where}[]")
    for name, part in schema.get("properties", {}).items():
        yield from unbounded(part, document, f"{where}.{name}")


def test_every_input_is_bounded(document: Document) -> None:
    found: list[str] = []
    for name, operation in operations(document):
        for parameter in operation.get("parameters", []):
            found += unbounded(parameter["schema"], document, f"{name} {parameter['name']}")
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body:
            found += unbounded(body["schema"], document, name)
            assert closed(body["schema"], document), name
    assert found == []


def closed(schema: Document, document: Document) -> bool:
    """Say whether an object of this schema holds no other fields."""
    if "anyOf" in schema:
        return all(closed(alternative, document) for alternative in schema["anyOf"])
    name = schema["$ref"].rpartition("/")[2]
    return document["components"]["schemas"][name].get("additionalProperties") is False


def test_swagger_ui_is_served_by_ourselves_alone(api: Api) -> None:
    page = api.client.get("/api/docs")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "http" not in policy
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(files) == 4
    for file in files:
        answer = api.client.get(file)
        assert (answer.status_code, len(answer.content) > 100) == (200, True), file
    # No script in the page, which the policy would not run, and nothing from elsewhere.
    assert re.findall(r"<script>|https?://", page.text) == []
    assert api.client.get("/api/docs/swagger-ui.js.map").status_code == 404
    assert api.client.get("/api/docs/..%2f__init__.py").status_code == 404


def test_the_document_for_swagger_ui_is_of_openapi_3_0(api: Api, document: Document) -> None:
    older = api.client.get("/api/docs/openapi.json").json()
    assert older["openapi"] == "3.0.3"
    assert set(older["paths"]) == set(document["paths"])
    text = json.dumps(older)
    for newer in ('"type": "null"', '"const"', '"examples": ['):
        assert newer not in text, newer


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ({"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]}, {"type": "string", "maxLength": 3, "nullable": True}),
        ({"anyOf": [{"$ref": "#/a"}, {"type": "null"}]}, {"allOf": [{"$ref": "#/a"}], "nullable": True}),
        (
            {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
            {"anyOf": [{"type": "string"}, {"type": "integer"}], "nullable": True},
        ),
        ({"const": "a"}, {"enum": ["a"]}),
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 0, "exclusiveMinimum": True}),
        ({"type": "string", "examples": ["a", "b"]}, {"type": "string", "example": "a"}),
        ({"examples": {"one": {"value": 1}}}, {"examples": {"one": {"value": 1}}}),
    ],
)
def test_what_is_new_in_3_1_is_said_as_3_0_says_it(newer: Document, older: Document) -> None:
    assert as_3_0({"part": newer}) == {"openapi": "3.0.3", "part": older}


def test_whatever_creates_by_post_takes_an_idempotency_key(document: Document) -> None:
    for name, operation in operations(document):
        creates = name.startswith("POST") and "201" in operation["responses"]
        takes = any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", []))
        assert takes or not creates, name
