"""The API as it is served: over TLS, by curl, under Schemathesis; and tokens that appear nowhere they should not."""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.daemons.service import Service

# Exercised by Schemathesis they would end the run: the token it uses would be revoked.
NOT_TRIED = "^/tokens/.*/revoke$"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with everything in its log."""
    service = Service(tmp_path_factory.mktemp("api"))
    service.environment["SIGNETRY_LOG_LEVEL"] = "debug"
    service.init("--ca-key", "p256")
    service.start()
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="module")
def admin(served: Service) -> Path:
    """The header file of an administrator, who has recorded three persons and a group with one of them in it."""
    header = header_file(served, make_token(served, "admin"), "admin.header")
    for name in ("olga", "rita", "taro"):
        address = f"{name}@example.com"
        assert post(served, header, "/persons", {"upn": address, "email": address})[0] == 201
    assert post(served, header, "/groups", {"name": "phones"})[0] == 201
    member = url(served, "/v1/groups/phones/members/taro@example.com")
    assert curl(served, "-X", "PUT", member, header=header)[0] == 200
    return header


def url(service: Service, path: str = "") -> str:
    return f"https://{service.environment['SIGNETRY_ADMIN_LISTEN']}/api{path}"


def make_token(service: Service, role: str, *options: str) -> str:
    return service.signetry("token", "create", "--role", role, "--name", role, *options).strip()


def header_file(service: Service, token: str, name: str = "token.header") -> Path:
    """Write the file that ``curl -H @FILE`` reads, as docs/api.md says."""
    path = service.home / name
    path.touch(mode=0o600)
    path.write_text(f"Authorization: Bearer {token}\n")
    return path


def curl(service: Service, *arguments: str, header: Path | None = None) -> tuple[int, Any]:
    """Run curl; return the status and the document."""
    command = ["curl", "-sS", "--cacert", str(service.home / "tls" / "root.pem"), "-w", "\n%{http_code}"]
    if header is not None:
        command += ["-H", f"@{header}"]
    body, _, status = service.run(*command, *arguments).stdout.rpartition("\n")
    return int(status), json.loads(body)


def post(service: Service, header: Path, path: str, body: object, *options: str) -> tuple[int, Any]:
    """Send a JSON document; return the status and the answer's document."""
    arguments = ("-H", "Content-Type: application/json", "-d", json.dumps(body), *options)
    return curl(service, *arguments, url(service, f"/v1{path}"), header=header)


def test_a_token_opens_the_api(served: Service, admin: Path) -> None:
    assert curl(served, url(served, "/v1/whoami"))[0] == 401
    status, myself = curl(served, url(served, "/v1/whoami"), header=admin)
    assert (status, myself["role"]) == (200, "admin")
    body = {"person": "taro@example.com"}
    first, second = (post(served, admin, "/challenges", body, "-H", "Idempotency-Key: one") for _ in range(2))
    assert first[0] == 201
    assert first == second


def test_what_is_revoked_at_the_command_line_is_closed_at_once(served: Service, admin: Path) -> None:
    _, made = post(served, admin, "/tokens", {"name": "auditor", "role": "auditor"})
    header = header_file(served, made["token"])
    assert curl(served, url(served, "/v1/whoami"), header=header)[0] == 200
    served.signetry("token", "revoke", str(made["id"]))
    assert curl(served, url(served, "/v1/whoami"), header=header)[0] == 401


def test_the_commands_of_the_documentation_work(served: Service, admin: Path, tmp_path: Path) -> None:
    _, lost = post(served, admin, "/tokens", {"name": "lost", "role": "auditor"})
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    for documented, here in (
        ("https://127.0.0.1:8443", url(served).removesuffix("/api")),
        ("var/tls", f"{served.home}/tls"),
        ("revoke 7", f"revoke {lost['id']}"),
        ("curl -sS", "curl -sSf"),
    ):
        assert documented in script
        script = script.replace(documented, here)
    # No directory is configured here; tests/daemons/ has others that start some.
    script = "\n".join(line for line in script.splitlines() if "/directories/" not in line)
    (tmp_path / "persons.csv").write_text("upn,email\nhanako@example.com,hanako@example.com\n")
    environment = served.environment | {"HOME": str(tmp_path), "LOGNAME": "somebody"}
    done = subprocess.run(
        ["bash", "-eu"], input=script, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "signetry.header").stat().st_mode & 0o777 == 0o600


def command_lines() -> str:
    """Return the command lines and environments of all processes that may be looked at: what ``ps`` shows, and more."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            for name in ("cmdline", "environ"):
                try:
                    found.append((process / name).read_bytes().decode("utf-8", "replace"))
                except OSError:
                    continue
    return "\n".join(found)


def test_a_token_is_in_no_process_list_log_error_audit_event_or_database(served: Service) -> None:
    token = make_token(served, "admin")
    secret = token.split("_", 2)[2]
    header = header_file(served, token)
    # Used, in every place of a request where somebody may put it, rightly or wrongly.
    answers = [
        curl(served, url(served, "/v1/whoami"), header=header),
        curl(served, url(served, f"/v1/whoami?token={token}"), header=header),
        curl(served, url(served, f"/v1/tokens?limit={token}"), header=header),
        curl(served, url(served, "/v1/tokens"), "-H", "Content-Type: application/json", "-d", f'"{token}"', header=header),
        curl(served, url(served, "/v1/tokens"), "-H", "Content-Type: application/json", "-d", token, header=header),
        curl(served, url(served, "/v1/tokens"), "-H", f"Idempotency-Key: {token} ", "-d", "{}", header=header),
        curl(served, url(served, "/v1/whoami"), "-H", f"Authorization: Basic {token}"),
        curl(served, url(served, "/v1/whoami"), "-H", f"Authorization: Bearer {token}x"),
    ]
    assert [status for status, _ in answers] == [200, 400, 400, 400, 400, 415, 401, 401]
    # An error's "instance" is the path that was asked for; whoever puts a token there has published it.
    assert secret not in json.dumps(answers)

    slow = ["curl", "-sS", "--cacert", str(served.home / "tls" / "root.pem"), "-H", f"@{header}"]
    slow += ["-H", "Content-Type: application/json", "-X", "POST", "-T", "-"]
    with subprocess.Popen([*slow, url(served, "/v1/tokens")], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as curling:
        time.sleep(0.5)
        assert curling.poll() is None
        assert f"@{header}" in command_lines()
        assert secret not in command_lines()
        assert curling.stdin is not None
        curling.stdin.close()

    assert secret not in served.log
    assert "/api/v1/whoami" in served.log
    stored = b"".join(path.read_bytes() for path in served.home.glob("signetry.db*"))
    assert secret.encode() not in stored


def schemathesis(service: Service, tmp_path: Path, token: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run Schemathesis as the bearer of ``token``, all its checks but the one that ours stands in for."""
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(
        f"""
headers = {{ Authorization = "Bearer ${{SIGNETRY_TOKEN}}" }}
tls-verify = "{service.home / "tls" / "root.pem"}"
hooks = "{Path(__file__).with_name("api_checks.py")}"
seed = 1
continue-on-failure = true
[checks]
positive_data_acceptance.enabled = false
"""
    )
    command: Sequence[str] = (
        "schemathesis",
        *("--config-file", str(configuration), "run", url(service, "/openapi.json")),
        *("--exclude-path-regex", NOT_TRIED, "--warnings", "off", "--no-color", *options),
    )
    environment = service.environment | {"SIGNETRY_TOKEN": token}
    return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)


EVERYTHING = ("--phases", "examples,coverage,fuzzing,stateful")
# What is wrong with a request, an officer is told by what tells an administrator; an MDM's token has answers of its own.
WITHOUT_COVERAGE = ("--phases", "examples,fuzzing,stateful")
READING = ("--phases", "fuzzing,stateful")
ROLES = {
    "admin": ("--max-examples", "5", *EVERYTHING),
    "officer": ("--max-examples", "2", *WITHOUT_COVERAGE),
    "recovery": ("--max-examples", "2", *READING),
    "auditor": ("--max-examples", "2", *READING),
    "mdm": ("--max-examples", "2", *EVERYTHING),
}


@pytest.fixture(scope="module")
def tokens(served: Service, admin: Path) -> dict[str, str]:
    """A token of each role, made before anything is tried out on what they stand on."""
    orders: tuple[dict[str, Any], ...] = (
        {"role": "admin"},
        {"role": "recovery", "upn": "rita@example.com"},
        {"role": "auditor"},
        {"role": "mdm", "endpoints": ["default"], "profiles": ["identity"], "group": "phones"},
    )
    made = {order["role"]: post(served, admin, "/tokens", {"name": "tried", **order})[1]["token"] for order in orders}
    # Whoever makes recovery agents makes no officers: this one is made by another administrator.
    return made | {"officer": make_token(served, "officer", "--upn", "olga@example.com")}


def operations(service: Service, role: str) -> str:
    """Return the pattern of the operations that ``role`` may use.

    The others answer it before anything of the request is read, each with the same 403: test_roles.py asks them all.
    """
    _, document = curl(service, url(service, "/openapi.json"))
    found = (operation for path in document["paths"].values() for operation in path.values())
    names = [operation["operationId"] for operation in found if role in operation["x-roles"]]
    return f"^({'|'.join(names)})$"


@pytest.mark.parametrize("role", ROLES)
def test_schemathesis_finds_nothing(served: Service, tokens: dict[str, str], tmp_path: Path, role: str) -> None:
    only = ("--include-operation-id-regex", operations(served, role))
    done = schemathesis(served, tmp_path, tokens[role], *only, *ROLES[role])
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
