"""Recovery over the API of a running service, its archive process online, on PostgreSQL: web processes race for one export."""

import base64
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from tests.daemons.service import Service, serving
from tests.daemons.test_api import curl, header_file, make_token, post, url
from tests.postgresql import Cluster

ALICE = "alice@example.com"
ASKED = {"person": ALICE, "reason": "lost phone, case 4711", "history": True}
ONLINE = "\n[archive]\nonline = true\n"


@dataclass(frozen=True)
class Office:
    """The service, and the header files of who takes part."""

    service: Service
    headers: Mapping[str, Path]

    def post(self, who: str, path: str, body: object | None = None) -> tuple[int, Any]:
        """Send a JSON document as somebody."""
        return post(self.service, self.headers[who], f"/recoveries{path}", {} if body is None else body)

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Read as the administrator."""
        status, found = curl(self.service, url(self.service, f"/v1{path}"), header=self.headers["admin"])
        assert status == 200, found
        return found

    def approved(self) -> int:
        """Return the number of a request that was asked and approved."""
        status, asked = self.post("officer", "", ASKED)
        assert status == 201, asked
        status, decided = self.post("recovery", f"/{asked['id']}/approve")
        assert status == 200, decided
        number: int = asked["id"]
        return number


@pytest.fixture(scope="module")
def office(postgresql: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Two web processes, the worker and the archive process; alice has a key that was made for her."""
    database = postgresql.create("recovery").render_as_string(hide_password=False)
    home = tmp_path_factory.mktemp("recovery") / "home"
    with serving(home, "--ca-key", "p256", configuration=ONLINE, database_url=database) as service:
        for name in ("alice", "olga", "rita"):
            service.add_person(name)
        service.signetry("pfx", "issue", "--upn", ALICE)
        headers = {"admin": header_file(service, make_token(service, "admin"), "admin.header")}
        officer = make_token(service, "officer", "--upn", "olga@example.com")
        headers["officer"] = header_file(service, officer, "officer.header")
        # The command line has made an officer's, so it takes another administrator.
        asked = {"name": "Rita", "role": "recovery", "upn": "rita@example.com"}
        status, made = post(service, headers["admin"], "/tokens", asked)
        assert status == 201, made
        headers["recovery"] = header_file(service, made["token"], "recovery.header")
        yield Office(service, headers)
    postgresql.drop("recovery")


def test_a_key_made_here_is_recovered(office: Office, tmp_path: Path) -> None:
    number = office.approved()
    status, exported = office.post("officer", f"/{number}/export", {"encoding": "aes256"})
    assert status == 200, exported
    (file,) = exported["files"]
    container = tmp_path / "alice.p12"
    container.write_bytes(base64.b64decode(file["pkcs12"]))
    loaded = pkcs12.load_pkcs12(container.read_bytes(), exported["passphrase"].encode())
    assert loaded.cert is not None
    # What made it is in it, too.
    assert loaded.cert.certificate.issuer in [each.certificate.subject for each in loaded.additional_certs]
    shown = office.get(f"/recoveries/{number}")
    assert (shown["state"], int(shown["keys"][0]["serial"], 16)) == ("exported", loaded.cert.certificate.serial_number)


def test_of_exports_at_the_same_moment_one_gets_the_keys(office: Office) -> None:
    number = office.approved()
    answers: list[tuple[int, Any]] = []
    gate = threading.Barrier(6)

    def export() -> None:
        gate.wait()
        answers.append(office.post("officer", f"/{number}/export"))

    threads = [threading.Thread(target=export) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(status for status, _ in answers) == [200, *[403] * 5], answers
    events = office.get(f"/audit-events?subject=recovery:{number}&limit=100")["items"]
    assert [event["action"] for event in events].count("recovery.exported") == 1
    assert [event["action"] for event in events].count("recovery.refused") == 5


def test_the_archive_process_goes_by_the_token_and_not_by_who_relays(office: Office) -> None:
    """A web process that were taken over could ask for an export; without the officer's token it gets nothing."""
    number = office.approved()
    script = (
        "import sys; from signetry.house import open_house; house = open_house()\n"
        "from foundation.errors import SignetryError\n"
        "for token in sys.argv[2:]:\n"
        "    try: house.archive.recover(int(sys.argv[1]), token=token); print('recovered')\n"
        "    except SignetryError as error: print(type(error).__name__)\n"
    )
    presented = [office.headers[name].read_text().split()[-1] for name in ("admin", "recovery")]
    tokens = ["", "sgt_2_" + "A" * 43, *presented]
    done = office.service.run("python", "-c", script, str(number), *tokens)
    assert done.stdout.splitlines() == ["NotAuthorised", "NotAuthorised", "RoleRefused", "RoleRefused"]
    assert office.get(f"/recoveries/{number}")["state"] == "approved"


def test_neither_passphrase_nor_token_nor_key_is_logged(office: Office) -> None:
    _, exported = office.post("officer", f"/{office.approved()}/export")
    secrets = [exported["passphrase"], *(path.read_text().split("_")[-1].strip() for path in office.headers.values())]
    for secret in secrets:
        assert secret not in office.service.log
    assert exported["files"][0]["pkcs12"][:40] not in office.service.log
    assert exported["passphrase"] not in str(office.get("/audit-events?limit=1000"))


def test_openssl_reads_what_comes_over_the_api(office: Office, tmp_path: Path) -> None:
    _, exported = office.post("officer", f"/{office.approved()}/export")
    container = tmp_path / "alice.p12"
    container.write_bytes(base64.b64decode(exported["files"][0]["pkcs12"]))
    command = ["openssl", "pkcs12", "-in", str(container), "-passin", "env:PASSPHRASE", "-nodes"]
    environment = os.environ | {"PASSPHRASE": exported["passphrase"]}
    opened = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert opened.count("BEGIN PRIVATE KEY") == 1
