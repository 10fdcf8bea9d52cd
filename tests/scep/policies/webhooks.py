"""A webhook on the loopback address that refuses whatever docs/webhook.md does not describe."""

import base64
import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from tests.daemons.directories.tls import ServerTls

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
KEY = b"0123456789abcdef0123456789abcdef"

_FIELDS = {
    "": {
        "version",
        "endpoint",
        "profiles",
        "request_id",
        "transaction_id",
        "message_type",
        "address",
        "challenge",
        "csr",
        "signer",
    },
    "csr": {"der", "sha256", "subject", "requested", "key"},
    "csr.requested": {
        *("common_name", "emails", "upns", "dns_names", "uris", "sids", "other", "organisational_units", "ca"),
    },
    "csr.key": {"algorithm", "bits", "curve", "spki_sha256"},
    "signer": {"sha256", "spki_sha256", "has_requested_key", "issued_here"},
}

Document = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What is answered."""

    body: bytes
    headers: Mapping[str, str]
    status: int = 200
    after_seconds: float = 0.0


@dataclass
class Service:
    """What the webhook was asked, how it answers, and what it was sent that is not documented."""

    url: str = ""
    asked: list[Document] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    answer: object = field(default_factory=dict)
    # Changes a reply that would otherwise be as documented.
    change: Callable[[Reply], Reply] = lambda reply: reply

    def allow(self, **answer: object) -> None:
        """Answer so from now on."""
        self.answer = {"decision": "allow", "profile": "identity", **answer}


def sign(key: bytes, identifier: str, timestamp: str, body: bytes) -> str:
    """Return a signature as Standard Webhooks defines it."""
    mac = hmac.new(key, b".".join((identifier.encode(), timestamp.encode(), body)), hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


def resigned(reply: Reply, body: bytes, key: bytes = KEY) -> Reply:
    """Return the reply with another body, signed."""
    identifier, timestamp = reply.headers["webhook-id"], reply.headers["webhook-timestamp"]
    return replace(reply, body=body, headers={**reply.headers, "webhook-signature": sign(key, identifier, timestamp, body)})


class _Handler(BaseHTTPRequestHandler):
    service: ClassVar[Service]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        identifier, timestamp = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        self.service.violations += self._violations(identifier, timestamp, body)
        self.service.asked.append(json.loads(body))
        answer = json.dumps(self.service.answer).encode()
        now = str(int(time.time()))
        reply = self.service.change(
            Reply(
                answer,
                {"webhook-id": identifier, "webhook-timestamp": now, "webhook-signature": sign(KEY, identifier, now, answer)},
            )
        )
        time.sleep(reply.after_seconds)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def _violations(self, identifier: str, timestamp: str, body: bytes) -> Iterator[str]:
        if self.headers["content-type"] != "application/json" or self.path != "/decide":
            yield f"{self.headers['content-type']} to {self.path}"
        if sign(KEY, identifier, timestamp, body) not in self.headers["webhook-signature"].split(" "):
            yield "not signed"
        if abs(time.time() - int(timestamp)) > 5:
            yield f"the time {timestamp}"
        document = json.loads(body)
        for path, names in _FIELDS.items():
            part = document
            for step in filter(None, path.split(".")):
                part = part[step]
            if set(part) != names:
                yield f"fields of {path}: {set(part) ^ names}"
        if document["version"] != 1 or document["message_type"] not in ("PKCSReq", "RenewalReq"):
            yield "version or type"
        der = base64.b64decode(document["csr"]["der"], validate=True)
        if hashlib.sha256(der).hexdigest() != document["csr"]["sha256"]:
            yield "another request"

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def running(tls: ServerTls | None) -> Iterator[Service]:
    """Run a webhook, over TLS where files are given."""
    service = Service()
    handler = type("Handler", (_Handler,), {"service": service})
    with serving(handler, tls) as address:
        service.url = f"{address}/decide"
        yield service


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], tls: ServerTls | None) -> Iterator[str]:
    """Serve requests with ``handler``; yield the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
