"""``signetry serve`` as a whole: three listeners, their processes, and what happens when an address is taken."""

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from signetry.errors import AddressTaken, ConfigurationError
from signetry.server import listening, public_address
from signetry.settings import load_settings

SIGNETRY = Path(sys.executable).with_name("signetry")


@dataclass
class Service:
    """A running ``signetry serve``."""

    process: subprocess.Popen[bytes]
    home: Path
    environment: dict[str, str]

    def record(self) -> dict[str, Any]:
        """Return what it wrote about itself."""
        record: dict[str, Any] = json.loads((self.home / "run" / "serve.json").read_text())
        return record

    def get(self, listener: str, path: str) -> tuple[int, str]:
        """Fetch ``path`` from one of its listeners; return status and body."""
        address = str(self.record()["addresses"][listener])
        context = ssl.create_default_context(cafile=str(self.home / "tls" / "root.pem"))
        with urllib.request.urlopen(address + path, context=context, timeout=20) as answer:
            return answer.status, answer.read().decode()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("serve")
    listeners = {f"SIGNETRY_{name}_LISTEN": "127.0.0.1:0" for name in ("PUBLIC", "DEVICE", "ADMIN")}
    environment = {**os.environ, **listeners, "SIGNETRY_HOME": str(home), "SIGNETRY_WORKERS": "2"}
    subprocess.run([SIGNETRY, "init", "--ca-key", "p256"], env=environment, check=True, capture_output=True)
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([SIGNETRY, "serve"], env=environment, stdout=log, stderr=log)
    deadline = time.monotonic() + 30
    while not (home / "run" / "serve.json").exists():
        assert process.poll() is None, (home / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield Service(process, home, environment)
    process.terminate()
    # Asked to stop, it stops, and says that this was no failure.
    assert process.wait(20) == 0


@pytest.mark.parametrize("listener", ["public", "device", "admin"])
@pytest.mark.parametrize(("path", "status"), [("/healthz", "ok"), ("/readyz", "ready")])
def test_every_listener_answers(service: Service, listener: str, path: str, status: str) -> None:
    assert service.get(listener, path) == (200, json.dumps({"status": status}, separators=(",", ":")))


def test_it_says_who_runs_where(service: Service) -> None:
    record = service.record()
    assert record["pid"] == service.process.pid
    assert sorted(record["children"]) == ["web-0", "web-1", "worker"]
    assert stat.S_IMODE((service.home / "run" / "serve.json").stat().st_mode) == 0o600
    for pid in record["children"].values():
        assert f"PPid:\t{record['pid']}" in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.parametrize("child", ["web-0", "worker"])
def test_a_killed_child_is_replaced(service: Service, child: str) -> None:
    before = service.record()["children"][child]
    os.kill(before, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while service.record()["children"][child] == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert service.get("public", "/readyz")[0] == 200


def test_a_port_that_the_system_chose_is_found_again(service: Service, tmp_path: Path) -> None:
    """Or demo and doctor would look at port 0."""
    found = public_address(load_settings(home=service.home, public_listen="127.0.0.1:0"))
    assert f"http://{found}" == service.record()["addresses"]["public"]
    assert public_address(load_settings(home=service.home, public_listen="127.0.0.1:81")).port == 81
    assert public_address(load_settings(home=tmp_path, public_listen="127.0.0.1:0")).port == 0


def test_a_second_one_on_the_same_addresses_fails_and_names_the_setting(service: Service) -> None:
    address = service.record()["addresses"]["public"].removeprefix("http://")
    environment = {**service.environment, "SIGNETRY_PUBLIC_LISTEN": address}
    second = subprocess.run([SIGNETRY, "serve"], env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 1
    assert f"public_listen: {address} is taken by another process" in second.stderr
    assert "Traceback" not in second.stderr
    assert service.get("public", "/healthz")[0] == 200


def test_a_taken_address_is_named_with_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signetry.server._PATIENCE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = load_settings(
            home=tmp_path,
            public_listen="127.0.0.1:0",
            device_listen=f"127.0.0.1:{port}",
            admin_listen="127.0.0.1:0",
        )
        with pytest.raises(AddressTaken, match=rf"^device_listen: 127\.0\.0\.1:{port} is taken"), listening(settings):
            pass


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, public_listen="192.0.2.1:8080")
    with pytest.raises(ConfigurationError, match=r"^public_listen: cannot listen on 192\.0\.2\.1:8080: "), listening(settings):
        pass


def test_the_kernel_spreads_connections_over_the_web_processes(tmp_path: Path) -> None:
    listeners = {f"{name}_listen": "127.0.0.1:0" for name in ("public", "device", "admin")}
    settings = load_settings(home=tmp_path, workers=2, **listeners)
    with listening(settings) as by_process, ExitStack() as clients:
        address = by_process[0]["public"].getsockname()
        assert address == by_process[1]["public"].getsockname()
        for _ in range(64):
            clients.enter_context(socket.create_connection(address))
        taken = [waiting(sockets["public"]) for sockets in by_process]
    assert sum(taken) == 64
    # One of them getting fewer than 8 of 64 has a probability below one in a thousand million.
    assert min(taken) >= 8


def waiting(listener: socket.socket) -> int:
    """Take what waits on ``listener`` and return how much that was."""
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1
