"""A tenant of Microsoft's cloud on a loopback port, as documented (facts/mail_profiles.md section 4) and stricter.

Log-on service, Microsoft Graph and Intune's SCEP service are one HTTPS server here. What does not have the documented shape is
refused with HTTP 400 and noted in ``violations``, which every test expects to stay empty. Answers can be put in front of the
usual ones: codes, throttling, failures, nonsense, and requests that are held until the test lets them go.
"""

import asyncio
import base64
import binascii
import json
import re
import secrets
import socket
import threading
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jwt
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import AttributeOID
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from tests.daemons.directories.tls import ServerTls, TestAuthority

TENANT = "contoso.onmicrosoft.com"
CLIENT_ID = "6f1c3d1e-6a51-4f6e-9d2b-0b9f8f7f1a11"
CLIENT_SECRET = "the secret of the app registration"
CALLER_INFO = "Signetry test"
RESOURCE = "https://api.manage.microsoft.com/"

_TOKEN_PATH = f"/{TENANT}/oauth2/v2.0/token"
_INTUNE_SCOPE = "https://api.manage.microsoft.com//.default"
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_THUMBPRINT = re.compile(r"[0-9A-F]{40}")
_SERIAL = re.compile(r"[0-9a-f]{32}")
_REQUEST = {"transactionId", "certificateRequest", "callerInfo"}
_SUCCESS = _REQUEST | {
    "certificateThumbprint",
    "certificateSerialNumber",
    "certificateExpirationDateUtc",
    "issuingCertificateAuthority",
    "caConfiguration",
    "certificateAuthority",
}
_FAILURE = _REQUEST | {"hResult", "errorDescription"}
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Violation(Exception):
    """A request does not have the documented shape."""


@dataclass
class Reply:
    """An answer that takes the place of the usual one."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    # Whether the request takes effect before this answer is given, as when only the answer is lost.
    after_effect: bool = False


@dataclass(frozen=True)
class Received:
    """A request of the documented shape: which action, and the object in its body."""

    action: str
    content: dict[str, Any]
    request_id: str

    @property
    def csr(self) -> x509.CertificateSigningRequest:
        """The certificate request in it."""
        return x509.load_der_x509_csr(base64.b64decode(self.content["certificateRequest"]))


Handler = Callable[[str, Request, bytes], Reply]


class Hold:
    """Requests of one action stop here until they are let go."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self._released = threading.Event()

    def release(self) -> None:
        """Let them go."""
        self._released.set()

    def wait(self) -> None:
        """Wait until they may go."""
        self._released.wait(60)


def code(name: str, description: str = "as told to") -> Reply:
    """Return the SCEP service's answer with a code."""
    return Reply(body=json.dumps({"code": name, "errorDescription": description}).encode())


class Cloud:
    """The tenant: what it was asked, and what it is to answer.

    ``certificate`` is what the app registration knows, where it knows a certificate instead of a secret.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.certificate: x509.Certificate | None = None
        self.secret = CLIENT_SECRET
        self.received: list[Received] = []
        self.violations: list[str] = []
        self.logons: list[str] = []
        self.discoveries = 0
        self.token_seconds = 3600
        self.endpoints: list[dict[str, Any]] = [
            {"id": str(uuid.uuid4()), "capability": "", "providerName": "PkiConnectorFEService", "uri": f"{url}/Pki"},
            {"id": str(uuid.uuid4()), "capability": "", "providerName": "scepRequestValidationFEService", "uri": f"{url}/Scep"},
            {"id": str(uuid.uuid4()), "providerName": None, "uri": None},
        ]
        self.router = Router()
        self._tokens: dict[str, str] = {}
        self._request_ids: set[str] = set()
        self._replies: dict[str, deque[Reply]] = defaultdict(deque)
        self._holds: dict[str, Hold] = {}
        self._validated: set[tuple[str, str]] = set()

    # --- what a test says and asks ---

    def answer(self, action: str, *replies: Reply) -> None:
        """Answer the next requests for ``action`` so: logon, configuration, discovery, or one of the ScepActions."""
        self._replies[action].extend(replies)

    @contextmanager
    def holding(self, action: str) -> Iterator[Hold]:
        """Hold the requests for ``action`` that arrive while the block runs, after they have taken effect."""
        hold = Hold()
        self._holds[action] = hold
        try:
            yield hold
        finally:
            self._holds.pop(action, None)
            hold.release()

    def of(self, action: str) -> list[dict[str, Any]]:
        """Return what was sent to ``action``."""
        return [each.content for each in self.received if each.action == action]

    def add(self, routes: Iterable[Route]) -> None:
        """Serve further things, beside what every tenant has."""
        self.router.routes[0:0] = routes

    def revoke_tokens(self) -> None:
        """Accept no token that was issued before."""
        self._tokens.clear()

    # --- what it does ---

    @property
    def routes(self) -> list[Route]:
        """The whole cloud."""
        return [
            Route(f"/{TENANT}/v2.0/.well-known/openid-configuration", self.endpoint("configuration", self._configuration)),
            Route(_TOKEN_PATH, self.endpoint("logon", self._logon), methods=["POST"]),
            Route(
                "/v1.0/servicePrincipals/appId=0000000a-0000-0000-c000-000000000000/endpoints",
                self.endpoint("discovery", self._discovery),
            ),
            *(
                Route(f"/Scep/ScepActions/{action}", self.endpoint(action, handler), methods=["POST"])
                for action, handler in {
                    "validateRequest": self._validate,
                    "successNotification": self._succeeded,
                    "failureNotification": self._failed,
                }.items()
            ),
            Route("/{path:path}", self._elsewhere, methods=["GET", "POST", "PUT", "DELETE", "PATCH"]),
        ]

    def endpoint(self, action: str, handler: Handler) -> Callable[[Request], Any]:
        """Return what serves the requests for ``action``: the handler's answers, and those put in front of them."""

        async def answer(request: Request) -> Response:
            body = await request.body()
            scripted = self._replies[action].popleft() if self._replies[action] else None
            try:
                reply = handler(action, request, body) if scripted is None or scripted.after_effect else scripted
            except Violation as violation:
                self.violations.append(f"{action}: {violation}")
                reply = Reply(400, json.dumps({"error": str(violation)}).encode())
            else:
                reply = scripted or reply
            hold = self._holds.get(action)
            if hold is not None:
                hold.arrived.set()
                await asyncio.to_thread(hold.wait)
            return Response(reply.body, reply.status, {"content-type": "application/json", **reply.headers})

        return answer

    async def _elsewhere(self, request: Request) -> Response:
        self.violations.append(f"{request.method} {request.url.path} is documented nowhere")
        return Response(b"{}", 404)

    def _configuration(self, _action: str, _request: Request, _body: bytes) -> Reply:
        document = {
            "issuer": f"{self.url}/{TENANT}/v2.0",
            "authorization_endpoint": f"{self.url}/{TENANT}/oauth2/v2.0/authorize",
            "token_endpoint": f"{self.url}{_TOKEN_PATH}",
            "device_authorization_endpoint": f"{self.url}/{TENANT}/oauth2/v2.0/devicecode",
        }
        return Reply(body=json.dumps(document).encode())

    def _logon(self, _action: str, request: Request, body: bytes) -> Reply:
        require(request.headers["content-type"] == "application/x-www-form-urlencoded", "a token is asked for by a form")
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True)
        form = dict(pairs)
        require(len(form) == len(pairs), "a field stands there twice")
        require(form.get("grant_type") == "client_credentials", "not by client credentials")
        require(form.get("client_id") == CLIENT_ID, "an application that is not registered")
        scope = form.get("scope", "")
        require(scope in (f"{self.url}/.default", _INTUNE_SCOPE), f"a scope that nobody knows: {scope}")
        if not self._is_proven(form):
            description = "AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 1"
            return Reply(401, json.dumps({"error": "invalid_client", "error_description": description}).encode())
        token = secrets.token_urlsafe(24)
        self._tokens[token] = scope
        self.logons.append(scope)
        granted = {"token_type": "Bearer", "expires_in": self.token_seconds, "access_token": token}
        return Reply(body=json.dumps(granted).encode())

    def _is_proven(self, form: dict[str, str]) -> bool:
        if self.certificate is None:
            require("client_assertion" not in form, "a certificate where there is a secret")
            return form.get("client_secret") == self.secret
        require(form.get("client_assertion_type") == _ASSERTION_TYPE, "no assertion")
        require("client_secret" not in form, "a secret where there is a certificate")
        assertion = form["client_assertion"]
        digest = base64.urlsafe_b64encode(self.certificate.fingerprint(hashes.SHA256())).rstrip(b"=").decode()
        # MSAL pads it; Microsoft reads both.
        require(jwt.get_unverified_header(assertion).get("x5t#S256", "").rstrip("=") == digest, "another certificate")
        claims = jwt.decode(
            assertion,
            self.certificate.public_key(),  # type: ignore[arg-type] # RSA, as the tests make it
            algorithms=["PS256"],
            audience=f"{self.url}{_TOKEN_PATH}",
            issuer=CLIENT_ID,
        )
        return bool(claims["sub"] == CLIENT_ID)

    def _discovery(self, _action: str, request: Request, body: bytes) -> Reply:
        require(body == b"", "a body")
        require(not request.url.query, "a query")
        self.asked_of_graph(request)
        self.discoveries += 1
        return Reply(body=json.dumps({"@odata.context": "…", "value": self.endpoints}).encode())

    def asked_of_graph(self, request: Request) -> None:
        """Return if a request has what every request to Graph has. Raises Violation."""
        self._authorised(request.headers, f"{self.url}/.default")
        self._request_id(request.headers)
        require("api-version" not in request.headers, "an api-version, of which Graph knows nothing")

    def _validate(self, action: str, request: Request, body: bytes) -> Reply:
        content = self._act(action, request, body, "request", _REQUEST)
        csr = x509.load_der_x509_csr(base64.b64decode(content["certificateRequest"]))
        challenges = [attribute.value for attribute in csr.attributes if attribute.oid == AttributeOID.CHALLENGE_PASSWORD]
        if not challenges:
            return code("ChallengePasswordMissing")
        # Its own say so.
        if b"Intune" not in challenges[0]:
            return code("ChallengeDecryptionError")
        self._validated.add((content["transactionId"], content["certificateRequest"]))
        return code("Success", "")

    def _succeeded(self, action: str, request: Request, body: bytes) -> Reply:
        content = self._act(action, request, body, "notification", _SUCCESS)
        known = (content["transactionId"], content["certificateRequest"]) in self._validated
        require(known, "a certificate for a request that was not validated")
        require(_matches(_THUMBPRINT, content["certificateThumbprint"]), "no SHA-1 thumbprint")
        require(_matches(_SERIAL, content["certificateSerialNumber"]), "no serial number")
        require(_matches(_DATE, content["certificateExpirationDateUtc"]), "no UTC date with milliseconds")
        for name in ("issuingCertificateAuthority", "caConfiguration", "certificateAuthority"):
            require(isinstance(content[name], str) and bool(content[name]), f"no {name}")
        return code("Success", "")

    def _failed(self, action: str, request: Request, body: bytes) -> Reply:
        content = self._act(action, request, body, "notification", _FAILURE)
        number, description = content["hResult"], content["errorDescription"]
        require(type(number) is int and -(2**31) <= number < 0, "an hResult that is no error, or not of 32 bits")
        require(isinstance(description, str) and 0 < len(description) <= 255, "an errorDescription of the wrong length")
        return code("Success", "")

    def _act(self, action: str, request: Request, body: bytes, name: str, fields: set[str]) -> dict[str, Any]:
        headers = request.headers
        self._authorised(headers, _INTUNE_SCOPE)
        request_id = self._request_id(headers)
        require(headers.get("api-version") == "2018-02-20", "no api-version, or another one")
        require(headers.get("content-type", "").partition(";")[0] == "application/json", "no JSON")
        require(not request.url.query, "a query")
        try:
            document = json.loads(body)
        except ValueError:
            raise Violation("no JSON") from None
        require(isinstance(document, dict) and set(document) == {name}, f"something else than {name}")
        content: dict[str, Any] = document[name]
        require(isinstance(content, dict) and set(content) == fields, f"fields missing or too many: {sorted(content)}")
        require(isinstance(content["transactionId"], str) and bool(content["transactionId"]), "no transactionId")
        require(content["callerInfo"] == CALLER_INFO, "another callerInfo")
        _require_csr(content["certificateRequest"])
        self.received.append(Received(action, content, request_id))
        return content

    def _authorised(self, headers: Headers, scope: str) -> None:
        kind, _, token = headers.get("authorization", "").partition(" ")
        require(kind == "Bearer", "no bearer token")
        if token not in self._tokens:
            raise _Expired
        require(self._tokens[token] == scope, f"a token for {self._tokens[token]}")

    def _request_id(self, headers: Headers) -> str:
        given = headers.get("client-request-id", "")
        try:
            require(str(uuid.UUID(given)) == given, "a client-request-id that is no GUID")
        except ValueError:
            raise Violation("a client-request-id that is no GUID") from None
        require(given not in self._request_ids, "a client-request-id for the second time")
        self._request_ids.add(given)
        return given


class _Expired(Exception):
    """A token that is not accepted any more: no violation."""


async def _unauthorised(_request: Request, _error: Exception) -> Response:
    return Response(b'{"error": "invalid_token"}', 401, {"content-type": "application/json"})


def require(holds: bool, violation: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise Violation unless something holds."""
    if not holds:
        raise Violation(violation)


def _require_csr(value: object) -> None:
    require(isinstance(value, str), "a certificateRequest that is no text")
    try:
        der = base64.b64decode(str(value), validate=True)
        csr = x509.load_der_x509_csr(der)
    except (ValueError, binascii.Error):
        raise Violation("a certificateRequest that is no PKCS #10 in DER in base64") from None
    require(csr.is_signature_valid, "a certificateRequest whose signature does not hold")


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


@contextmanager
def running_cloud(tls: ServerTls, port: int = 0) -> Iterator[Cloud]:
    """Run a tenant on a loopback port while the block runs."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    cloud = Cloud(f"https://127.0.0.1:{listener.getsockname()[1]}")
    app = Starlette(routes=cloud.routes, exception_handlers={_Expired: _unauthorised})
    cloud.router = app.router
    config = uvicorn.Config(
        app,
        ssl_certfile=tls.certificate,
        ssl_keyfile=tls.key,
        log_config=None,
        access_log=False,
        # Answers carry what the test gives them, and one Date at most.
        date_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="cloud")
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the cloud did not come up"
            thread.join(0.01)
        yield cloud
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def cloud_tls(folder: Path) -> ServerTls:
    """Make the server's certificate, by an authority that nobody knows."""
    return TestAuthority(folder).issue("cloud", "127.0.0.1")
