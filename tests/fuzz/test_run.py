"""The fuzzing client itself: it passes a server that stands, and fails one that does not."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from scep.signing import certificates_only
from tests.fuzz.run import main
from tests.scep.messages import CA, RA


class _Handler(BaseHTTPRequestHandler):
    """Answers GetCACert; what it makes of messages is set by the test."""

    protocol_version = "HTTP/1.1"
    # Head and body in one segment, or Nagle's algorithm makes the kept-alive connection slow.
    wbufsize = -1
    status = 200
    body = b"no message"

    def do_GET(self) -> None:
        if "GetCACert" in self.path:
            self._answer(200, certificates_only([RA.certificate_der, CA.certificate_der]))
        else:
            self._answer(self.status, self.body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.status:
            self._answer(self.status, self.body)
        else:
            self.close_connection = True

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        """Stay quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/scep/default"
    server.shutdown()
    server.server_close()


def test_a_server_that_refuses_everything_politely_passes(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Handler, "status", 400)
    assert main(["--url", url, "--count", "60"]) == 0


@pytest.mark.parametrize(
    ("status", "body", "complaint"),
    [(500, b"", "status 500"), (200, b"Traceback (most recent call last)", "Traceback"), (0, b"", "connection broke")],
)
def test_errors_tracebacks_and_broken_connections_fail(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: int, body: bytes, complaint: str
) -> None:
    monkeypatch.setattr(_Handler, "status", status)
    monkeypatch.setattr(_Handler, "body", body)
    assert main(["--url", url, "--count", "9", "--seed", "3"]) == 1
    assert complaint in capsys.readouterr().err


def test_memory_that_grows_fails(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    readings = iter((1000, 1000 + 40 * 1024))
    monkeypatch.setattr("tests.fuzz.run.resident_kibibytes", lambda _pid: next(readings))
    assert main(["--url", url, "--count", "20", "--pids", "1"]) == 1
    assert "grew by 40.0 MiB" in capsys.readouterr().out
