"""Imports into a running service: what is left of private keys and passwords, what a kill leaves, what a bomb does to others."""

import base64
import csv
import os
import random
import signal
import sqlite3
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.daemons.service import Service, eventually
from tests.pkcs_import import containers
from tests.pkcs_import.pfx_files import Wish, certificate, der, pfx, simple_pfx

ELLIPTIC, RSA = 950, 50
KILLS = 4
FILES = 400
_LONGEST_ANSWER = 3.0
_PART = 14


@dataclass(frozen=True)
class Planted:
    """A file whose key and password are looked for later."""

    data: bytes
    password: str
    secrets: tuple[bytes, ...]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with everything in its log, and alice on record."""
    service = Service(tmp_path_factory.mktemp("pfx"))
    service.environment["SIGNETRY_LOG_LEVEL"] = "debug"
    service.init("--ca-key", "p256")
    service.add_person()
    service.start()
    try:
        yield service
    finally:
        service.stop()


@contextmanager
def administrator(service: Service) -> Iterator[httpx2.Client]:
    """Return a client of the API with an administrator's token."""
    token = service.signetry("token", "create", "--role", "admin", "--name", "pfx").strip()
    base = f"https://{service.environment['SIGNETRY_ADMIN_LISTEN']}/api/v1"
    verify = ssl.create_default_context(cafile=service.home / "tls" / "root.pem")
    with httpx2.Client(base_url=base, headers={"Authorization": f"Bearer {token}"}, verify=verify, timeout=60) as client:
        yield client


def upload(client: httpx2.Client, data: bytes, password: str) -> Any:  # noqa: ANN401 - httpx's
    """Upload a file."""
    return client.post("/archived-keys", json={"file": base64.b64encode(data).decode(), "password": password})


# --- what is left ---


def planted(number: int) -> Planted:
    """Return a file of alice's with a new key."""
    password = f"passphrase-{number:04}-{os.urandom(8).hex()}"
    key: Any
    if number < RSA:
        key = rsa.generate_private_key(65537, 2048)
        numbers = key.private_numbers()
        values = [(numbers.p, 128), (numbers.q, 128), (numbers.d, 256)]
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        values = [(key.private_numbers().private_value, 32)]
    secrets = tuple(value.to_bytes(length, "big") for value, length in values)
    return Planted(pfx(key, certificate(key), password=password), password, secrets)


def forms(secret: bytes) -> Iterator[bytes]:
    """Yield the forms in which a secret could stand somewhere: as it is, as a library's number, in hexadecimal, in base64."""
    for raw in (secret, secret[::-1]):
        yield raw
        yield raw.hex().encode()
        for shift in range(3):
            # What stands around it decides on the first and the last characters.
            yield base64.b64encode(bytes(shift) + raw)[4:-4]


def patterns(secrets: Sequence[bytes]) -> bytes:
    """Return what ``grep -f`` takes: of each form a part that tells it from everything else."""
    # A line feed ends a pattern; the longest piece between two of them is enough.
    found = [max(form.split(b"\n"), key=len)[:_PART] for secret in secrets for form in forms(secret)]
    assert min(map(len, found)) > _PART // 2
    return b"\n".join(found) + b"\n"


def holds_any(file: Path, patterns_file: Path) -> bool:
    """Say whether any of the patterns stands in a file."""
    command = ["grep", "-q", "-a", "-F", "-f", str(patterns_file), str(file)]
    status = subprocess.run(command, env={**os.environ, "LC_ALL": "C"}, check=False).returncode
    assert status in (0, 1)
    return status == 0


def memory_of(process_id: int, into: Path) -> Path:
    """Write all that a process has in memory into a file."""
    maps = Path(f"/proc/{process_id}/maps").read_text().splitlines()
    with Path(f"/proc/{process_id}/mem").open("rb", 0) as memory, into.open("wb") as out:
        for line in maps:
            span, rights, *_ = line.split()
            if not rights.startswith("r") or "[v" in line:
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            with suppress(OSError):
                memory.seek(start)
                while start < end and (part := memory.read(min(end - start, 1 << 24))):
                    out.write(part)
                    start += len(part)
    return into


class ProcessList:
    """Notes the command line and the environment of every process, over and over, while the block runs."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._note)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _note(self) -> None:
        own = os.getpid()
        seen: set[bytes] = set()
        with self._file.open("wb") as out:
            while not self._over.wait(0.02):
                for process in Path("/proc").glob("[0-9]*"):
                    for name in ("cmdline", "environ") if process.name != str(own) else ():
                        with suppress(OSError):
                            found = (process / name).read_bytes()
                            if found not in seen:
                                seen.add(found)
                                out.write(found + b"\n")


@pytest.mark.timeout(600)
def test_of_a_thousand_keys_nothing_is_left_in_database_logs_process_list_and_memory(served: Service, tmp_path: Path) -> None:
    keys = [planted(number) for number in range(ELLIPTIC + RSA)]
    private, passwords = tmp_path / "private", tmp_path / "passwords"
    private.write_bytes(patterns([secret for each in keys for secret in each.secrets]))
    passwords.write_text("".join(f"{each.password}\n" for each in keys))
    process_list = tmp_path / "process-list"
    with administrator(served) as client, ProcessList(process_list):
        for each in keys:
            assert upload(client, each.data, each.password).json()["outcome"] == "imported"
    # Found where they are: in this process, and in a file that holds one.
    assert holds_any(memory_of(os.getpid(), tmp_path / "own"), private)
    (tmp_path / "known").write_bytes(b"..." + keys[-1].secrets[0] + keys[0].password.encode())
    assert holds_any(tmp_path / "known", private)
    assert holds_any(tmp_path / "known", passwords)
    files = [path for path in served.home.rglob("*") if path.is_file()]
    assert {"signetry.db", "signetry.db-wal", "serve.log"} <= {path.name for path in files}
    for path in (*files, process_list):
        assert not holds_any(path, private), path
        assert not holds_any(path, passwords), path
    assert served.process is not None
    children = served.children()
    assert any("web" in name for name in children)
    assert any("worker" in name for name in children)
    for name, process_id in {**children, "supervisor": served.process.pid}.items():
        assert not holds_any(memory_of(process_id, tmp_path / "memory"), private), name
    assert len(served.json("pfx", "list", "--limit", "2000")) == len(keys)


# --- what a kill leaves ---


def counted(home: Path) -> tuple[int, int, int]:
    """Return how many keys, certificates and files are on record."""
    with closing(sqlite3.connect(home / "signetry.db")) as database:
        tables = ("archived_key", "archived_certificate", "imported_file")
        keys, certificates, files = (
            database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - our own words
            for table in tables
        )
        return keys, certificates, files


def workshop_of(process_id: int) -> list[int]:
    """Return the processes that any thread of an import has started."""
    lists = Path(f"/proc/{process_id}/task").glob("*/children")
    return [int(child) for each in lists for child in each.read_text().split()]


@pytest.mark.timeout(600)
def test_an_import_that_is_killed_anywhere_is_completed_by_the_next_and_keeps_nothing_twice(tmp_path: Path) -> None:
    service = Service(tmp_path / "home")
    service.init("--ca-key", "p256")
    service.add_person()
    folder = tmp_path / "files"
    folder.mkdir()
    rows = [("upn", "file", "password")]
    for number in range(FILES):
        (folder / f"{number:03}.p12").write_bytes(simple_pfx(password="secret"))
        rows.append(("alice@example.com" if number % 2 else "", f"{number:03}.p12", "secret"))
    listed = tmp_path / "list.csv"
    listed.touch(0o600)
    with listed.open("w", newline="") as out:
        csv.writer(out).writerows(rows)
    command = ("pfx", "import", str(listed), "--folder", str(folder), "--processes", "2")
    choice = random.Random(7)
    seen = 0
    for _ in range(KILLS):
        process = subprocess.Popen(["signetry", *command], env=service.environment, stdout=subprocess.DEVNULL)
        wanted = seen + choice.randrange(1, FILES // KILLS // 2)
        eventually(lambda wanted=wanted: counted(service.home)[0] >= wanted, seconds=60)
        time.sleep(choice.random() * 0.3)
        helpers = workshop_of(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert helpers
        for helper in helpers:
            eventually(lambda helper=helper: not Path(f"/proc/{helper}").exists(), message="a helper outlived the import")
        keys, certificates, files = counted(service.home)
        assert keys == certificates == files
        seen = keys
    assert seen < FILES
    report = service.json(*command)
    assert (report["already_there"], report["imported"], report["refused"]) == (seen, FILES - seen, 0)
    assert counted(service.home) == (FILES, FILES, FILES)
    assert service.json(*command)["already_there"] == FILES


# --- what a bomb does to others ---


def bomb() -> bytes:
    """Return a file that asks for as much work as any may."""
    key = ec.generate_private_key(ec.SECP256R1())
    pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    bags = [containers.key_bag(pkcs8, containers.aes(b"secret", iterations=16, stated=1_000_000))]
    parts = (containers.data([containers.certificate_bag(der(certificate(key))), *bags]),)
    return containers.pfx(*parts, mac=containers.mac(containers.bmp("secret"), iterations=16, stated=1_000_000))


def test_the_service_goes_on_answering_while_bombs_are_tried(served: Service) -> None:
    answers: list[tuple[int, str]] = []

    def try_bomb(client: httpx2.Client) -> None:
        answer = upload(client, bomb(), "secret")
        answers.append((answer.status_code, answer.json()["detail"]))

    with administrator(served) as client:
        threads = [threading.Thread(target=try_bomb, args=(client,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        slowest = 0.0
        while any(thread.is_alive() for thread in threads):
            begun = time.monotonic()
            assert client.get("/whoami").status_code == 200
            with urlopen(f"{served.scep}?operation=GetCACaps", timeout=10) as answer:
                assert answer.status == 200
            slowest = max(slowest, time.monotonic() - begun)
            time.sleep(0.05)
        for thread in threads:
            thread.join()
        assert [status for status, _ in answers] == [400] * 6
        assert slowest < _LONGEST_ANSWER
        good = upload(client, simple_pfx(Wish(), password="secret"), "secret")
        assert good.json()["outcome"] == "imported"


def test_an_import_beside_a_running_service_is_seen_by_it(served: Service, tmp_path: Path) -> None:
    file, password = tmp_path / "alice.p12", tmp_path / "password"
    file.write_bytes(simple_pfx(password="secret"))
    password.touch(0o600)
    password.write_text("secret")
    report = served.json("pfx", "import", str(file), "--password-file", str(password))
    assert report["imported"] == 1
    with administrator(served) as client:
        newest = client.get("/archived-keys", params={"limit": 1}).json()["items"][0]
    assert newest["certificates"][0]["sha256"] == report["files"][0]["certificates"][0]["sha256"]
