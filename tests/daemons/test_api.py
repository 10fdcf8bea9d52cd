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
    """A service with everything in its log, two persons and a group."""
    service = Service(tmp_path_factory.mktemp("api"))
    service.environment["SIGNETRY_LOG_LEVEL"] = "debug"
    service.init("--ca-key", "p256")
    for name in ("olga", "rita", "taro"):
        service.add_person(name)
    service.signetry("group", "add", "phones")
    service.signetry("group", "add-member", "phones", "taro@example.com")
    service.start()
    try:
        yield service
    finally:
        service.stop()


def url(service: Service, path: str = "") -> str:
    return f"https://{service.environment['SIGNETRY_ADMIN_LISTEN']}/api{path}"


def make_token(service: Service, role: str, *options: str) -> str:
    return service.signetry("token", "create", "--role", role, "--name", role, *options).strip()


def header_file(service: Service, token: str) -> Path:
    """Write the file that ``curl -H @FILE`` reads, as docs/api.md says."""
    path = service.home / "token.header"
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


def test_a_token_opens_the_api(served: Service) -> None:
    header = header_file(served, make_token(served, "admin"))
    assert curl(served, url(served, "/v1/whoami"))[0] == 401
    status, myself = curl(served, url(served, "/v1/whoami"), header=header)
    assert (status, myself["role"]) == (200, "admin")
    body = json.dumps({"person": "taro@example.com"})
    arguments = ("-H", "Content-Type: application/json", "-H", "Idempotency-Key: one", "-d", body, url(served, "/v1/challenges"))
    first, second = (curl(served, *arguments, header=header) for _ in range(2))
    assert first[0] == 201
    assert first == second


def test_what_is_revoked_at_the_command_line_is_closed_at_once(served: Service) -> None:
    header = header_file(served, make_token(served, "auditor"))
    number = curl(served, url(served, "/v1/whoami"), header=header)[1]["id"]
    served.signetry("token", "revoke", str(number))
    assert curl(served, url(served, "/v1/whoami"), header=header)[0] == 401


def test_the_commands_of_the_documentation_work(served: Service, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    for documented, here in (
        ("https://127.0.0.1:8443", url(served).removesuffix("/api")),
        ("var/tls", f"{served.home}/tls"),
        ("revoke 7", "revoke 1"),
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
# Those who only read reach few operations; what the rest tells them is the same for every request.
READING = ("--phases", "fuzzing,stateful")
ROLES = {
    "admin": ("--max-examples", "5", *EVERYTHING),
    "officer": ("--max-examples", "2", *EVERYTHING),
    "recovery": ("--max-examples", "2", *READING),
    "auditor": ("--max-examples", "2", *READING),
    "mdm": ("--max-examples", "2", *EVERYTHING),
}


@pytest.fixture(scope="module")
def tokens(served: Service) -> dict[str, str]:
    """A token of each role, made before anything is tried out on what they stand on."""
    made = {
        "admin": make_token(served, "admin"),
        "officer": make_token(served, "officer", "--upn", "olga@example.com"),
        "auditor": make_token(served, "auditor"),
        "mdm": make_token(served, "mdm", "--endpoint", "default", "--profile", "identity", "--group", "phones"),
    }
    # Whoever makes officers makes no recovery agents: this one is made by an administrator of their own.
    body = json.dumps({"name": "rita", "role": "recovery", "upn": "rita@example.com"})
    arguments = ("-H", "Content-Type: application/json", "-d", body, url(served, "/v1/tokens"))
    _, answer = curl(served, *arguments, header=header_file(served, made["admin"]))
    return made | {"recovery": answer["token"]}


@pytest.mark.parametrize("role", ROLES)
def test_schemathesis_finds_nothing(served: Service, tokens: dict[str, str], tmp_path: Path, role: str) -> None:
    done = schemathesis(served, tmp_path, tokens[role], *ROLES[role])
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
