"""The logs: one line an event, and no secret in any of them, wherever it came in."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog
from pydantic import SecretStr

from signetry.logging import REDACTED, configure, log_reference

CANARY = "canary-7f3a91"


@pytest.fixture(params=["json", "console"])
def stream(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    style: Literal["json", "console"] = request.param
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    output = io.StringIO()
    configure("debug", style, output)
    yield output
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def as_json() -> io.StringIO:
    output = io.StringIO()
    configure("info", "json", output)
    return output


def lines(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


@pytest.mark.parametrize(
    "fields",
    [
        {"password": CANARY},
        {"challenge": CANARY},
        {"challengePassword": CANARY},
        {"db_password": CANARY},
        {"key_passphrase": CANARY},
        {"client_secret": CANARY},
        {"access_token": CANARY},
        {"pin": CANARY},
        {"hsm-pin": CANARY},
        {"Authorization": f"Bearer {CANARY}"},
        {"headers": {"X-Api-Token": CANARY, "cookie": CANARY}},
        {"outer": [{"inner": {"passphrase": CANARY}}]},
        {"anything": SecretStr(CANARY)},
        {"values": (SecretStr(CANARY),)},
        {"private_key": CANARY},
        {"body": CANARY.encode()},
        {"reason": f"could not use password={CANARY} here"},
        {"path": f"/api/v1/tokens/sgt_17_{CANARY}{'A' * 20}"},
        {"reason": f'the body was {{"challenge": "{CANARY}"}}'},
        {"url": f"postgresql://signetry:{CANARY}@database/signetry"},
        {"url": f"http://ca/scep/default?operation=PKIOperation&message={CANARY}"},
        {"header": f"Bearer {CANARY}"},
        {"pem": f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----"},
        {"pem": f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}"},
    ],
)
def test_a_secret_in_an_event_is_not_logged(stream: io.StringIO, fields: dict[str, Any]) -> None:
    structlog.get_logger("test").info("something happened", visible="seen", **fields)
    assert "seen" in stream.getvalue()
    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize(
    "message", ["password=%s", "Authorization: Bearer %s", "GET /x?operation=PKIOperation&message=%s", "token: '%s'"]
)
def test_a_secret_in_another_librarys_record_is_not_logged(stream: io.StringIO, message: str) -> None:
    logging.getLogger("somebody.else").warning(message, CANARY)
    assert "somebody.else" in stream.getvalue()
    assert CANARY not in stream.getvalue()


def test_a_secret_in_an_exception_is_not_logged(stream: io.StringIO) -> None:
    def refuse(password: str) -> None:
        raise ValueError(f"refused: challenge={password}")

    with pytest.raises(ValueError, match="refused") as caught:
        refuse(CANARY)
    log_reference(caught.value)
    assert "refused" in stream.getvalue()
    assert CANARY not in stream.getvalue()


def test_a_secret_bound_to_the_context_is_not_logged(stream: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(token=CANARY):
        structlog.get_logger("test").info("something happened")
    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("challenge_id", 17),
        ("serial", "4f02aa"),
        ("shipping", "pinned"),
        ("path", "/scep/default/pkiclient.exe"),
        ("passed", True),
        ("subject", "CN=Basic Person"),
    ],
)
def test_what_is_no_secret_stays(stream: io.StringIO, field: str, value: object) -> None:
    structlog.get_logger("test").info("something happened", **{field: value})
    assert str(value).lower() in stream.getvalue().lower()
    assert REDACTED not in stream.getvalue()


def test_a_line_is_one_json_object_with_time_level_and_logger() -> None:
    output = as_json()
    structlog.get_logger("signetry.test").warning("two\nlines", number=1)
    (event,) = lines(output)
    assert {key: event[key] for key in ("event", "level", "logger", "number")} == {
        "event": "two\nlines",
        "level": "warning",
        "logger": "signetry.test",
        "number": 1,
    }
    assert event["timestamp"].endswith("Z")


def test_what_lies_below_the_level_is_not_logged() -> None:
    output = as_json()
    structlog.get_logger("test").debug("quiet")
    logging.getLogger("somebody.else").debug("quiet")
    assert output.getvalue() == ""


def test_an_unexpected_error_is_found_by_its_reference() -> None:
    output = as_json()
    references = [log_reference(LookupError("what went wrong"), path="/x") for _ in range(2)]
    first, second = lines(output)
    assert [first["reference"], second["reference"]] == references
    assert references[0] != references[1]
    assert "LookupError: what went wrong" in first["exception"]
    assert first["path"] == "/x"
