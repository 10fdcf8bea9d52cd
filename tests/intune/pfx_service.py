"""``deviceManagement/userPfxCertificates`` of a strict tenant, with the connector that can open what lies there.

What does not have the documented shape (facts/mail_profiles.md section 5) is a violation, and so is a file that the connector
cannot open, or that is over another certificate than the one it is said to be over.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from starlette.requests import Request
from starlette.routing import Route

from tests.intune.server import Cloud, Reply, Violation, require

PATH = "/beta/deviceManagement/userPfxCertificates"
KEY_NAME = "PFXEncryptionKey"
PROVIDER = "Microsoft Software Key Storage Provider"

_FIELDS = {
    "@odata.type",
    "thumbprint",
    "intendedPurpose",
    "userPrincipalName",
    "startDateTime",
    "expirationDateTime",
    "providerName",
    "keyName",
    "paddingScheme",
    "encryptedPfxBlob",
    "encryptedPfxPassword",
    "createdDateTime",
    "lastModifiedDateTime",
}
_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "oaepSha256": hashes.SHA256(),
    "oaepSha384": hashes.SHA384(),
    "oaepSha512": hashes.SHA512(),
}
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_FILTER = re.compile(r"tolower\(userPrincipalName\) eq '((?:[^']|'')*)'")


@dataclass
class PfxService:
    """What a tenant keeps: ``users`` are their numbers by UPN, ``files`` what was uploaded, by the number it got."""

    cloud: Cloud
    connector: rsa.RSAPrivateKey = field(repr=False)
    users: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    acts: list[tuple[str, str]] = field(default_factory=list)
    page_size: int = 3

    def __post_init__(self) -> None:
        """Serve, beside the tenant's other services."""
        one = f"{PATH}('{{number}}')"
        routes = [
            Route(PATH, self.cloud.endpoint("pfx-list", self._list), methods=["GET"]),
            Route(PATH, self.cloud.endpoint("pfx-create", self._create), methods=["POST"]),
            Route(one, self.cloud.endpoint("pfx-get", self._get), methods=["GET"]),
            Route(one, self.cloud.endpoint("pfx-update", self._update), methods=["PATCH"]),
            Route(one, self.cloud.endpoint("pfx-delete", self._delete), methods=["DELETE"]),
        ]
        self.cloud.add(routes)

    # --- what a test says and asks ---

    def add_user(self, upn: str) -> str:
        """Have a user; return their number as it stands in those of their files."""
        self.users[upn.lower()] = number = uuid4().hex
        return number

    def of(self, upn: str) -> dict[str, dict[str, Any]]:
        """Return a user's files by thumbprint."""
        return {each["thumbprint"]: each for each in self.files.values() if each["userPrincipalName"] == upn}

    def opened(self, document: Mapping[str, Any]) -> pkcs12.PKCS12KeyAndCertificates:
        """Open a file as the connector does. Raises Violation."""
        algorithm = _HASHES[document["paddingScheme"]]
        oaep = padding.OAEP(mgf=padding.MGF1(algorithm), algorithm=algorithm, label=None)
        try:
            passphrase = self.connector.decrypt(base64.b64decode(document["encryptedPfxPassword"]), oaep)
        except ValueError:
            raise Violation("a password that the connector cannot decrypt") from None
        try:
            return pkcs12.load_pkcs12(base64.b64decode(document["encryptedPfxBlob"]), passphrase)
        except ValueError:
            raise Violation("a PKCS #12 that the password does not open") from None

    # --- what it does ---

    def _list(self, _action: str, request: Request, body: bytes) -> Reply:
        self._asked(request, body)
        query = dict(parse_qsl(request.url.query, keep_blank_values=True, strict_parsing=bool(request.url.query)))
        require(set(query) <= {"$filter", "$skiptoken"}, f"a query of {sorted(query)}")
        found = list(self.files.values())
        if "$filter" in query:
            wanted = _FILTER.fullmatch(query["$filter"])
            if wanted is None:
                raise Violation(f"a filter of another form: {query['$filter']}")
            upn = wanted.group(1).replace("''", "'")
            require(upn == upn.lower(), "a filter that nothing can match")
            found = [each for each in found if each["userPrincipalName"].lower() == upn]
        start = int(query.get("$skiptoken", "0"))
        page: dict[str, Any] = {"@odata.context": "…", "value": [_shown(each) for each in found[start : start + self.page_size]]}
        if start + self.page_size < len(found):
            rest = f"&$filter={quote(query['$filter'])}" if "$filter" in query else ""
            page["@odata.nextLink"] = f"{self.cloud.url}{PATH}?$skiptoken={start + self.page_size}{rest}"
        return Reply(body=json.dumps(page).encode())

    def _create(self, action: str, request: Request, body: bytes) -> Reply:
        document = self._document(request, body, {*_FIELDS, "id"})
        require(document.pop("id") == "", "a number, which is the service's to make")
        user = self.users.get(document["userPrincipalName"].lower())
        if user is None:
            return _refusal(400, "BadRequest", "nobody has this userPrincipalName")
        number = f"{user}-{document['thumbprint']}"
        if number in self.files:
            return _refusal(409, "Conflict", "it is there already")
        self.files[number] = {"id": number, **document}
        self.acts.append((action, document["thumbprint"]))
        return Reply(201, json.dumps(_shown(self.files[number])).encode())

    def _get(self, _action: str, request: Request, body: bytes) -> Reply:
        self._asked(request, body)
        found = self.files.get(request.path_params["number"])
        return _missing() if found is None else Reply(body=json.dumps(_shown(found)).encode())

    def _update(self, action: str, request: Request, body: bytes) -> Reply:
        document = self._document(request, body, _FIELDS)
        number = request.path_params["number"]
        if number not in self.files:
            return _missing()
        user = self.users.get(document["userPrincipalName"].lower())
        require(number == f"{user}-{document['thumbprint']}", "a file in the place of one of another user or certificate")
        self.files[number] = {"id": number, **document}
        self.acts.append((action, document["thumbprint"]))
        return Reply(body=json.dumps(_shown(self.files[number])).encode())

    def _delete(self, action: str, request: Request, body: bytes) -> Reply:
        self._asked(request, body)
        gone = self.files.pop(request.path_params["number"], None)
        if gone is None:
            return _missing()
        self.acts.append((action, gone["thumbprint"]))
        return Reply(204)

    def _asked(self, request: Request, body: bytes) -> None:
        self.cloud.asked_of_graph(request)
        require(body == b"", "a body")

    def _document(self, request: Request, body: bytes, fields: set[str]) -> dict[str, Any]:
        self.cloud.asked_of_graph(request)
        require(not request.url.query, "a query")
        require(request.headers.get("content-type", "").partition(";")[0] == "application/json", "no JSON")
        try:
            document: dict[str, Any] = json.loads(body)
        except ValueError:
            raise Violation("no JSON") from None
        require(isinstance(document, dict) and set(document) == fields, f"fields missing or too many: {sorted(document)}")
        require(all(isinstance(value, str) for value in document.values()), "a value that is no text")
        require(document["@odata.type"] == "#microsoft.graph.userPFXCertificate", "another type")
        require(document["intendedPurpose"] in ("unassigned", "smimeEncryption", "smimeSigning", "wifi"), "no purpose")
        require(document["paddingScheme"] in _HASHES, "a padding scheme that is not taken")
        require(document["keyName"] == KEY_NAME and document["providerName"] == PROVIDER, "a key that the connector has not")
        for name in ("startDateTime", "expirationDateTime", "createdDateTime", "lastModifiedDateTime"):
            require(_DATE.fullmatch(document[name]) is not None, f"{name} is no date")
        for name in ("encryptedPfxBlob", "encryptedPfxPassword"):
            _require_base64(document[name])
        self._require_certificate(document)
        return document

    def _require_certificate(self, document: Mapping[str, Any]) -> None:
        opened = self.opened(document)
        if opened.key is None or opened.cert is None:
            raise Violation("a PKCS #12 without key or certificate")
        certificate = opened.cert.certificate
        require(opened.key.public_key() == certificate.public_key(), "a key of another certificate")
        require(document["thumbprint"] == thumbprint(certificate), "the thumbprint of another certificate, or no SHA-1")
        require(_read(document["startDateTime"]) == certificate.not_valid_before_utc, "another beginning")
        require(_read(document["expirationDateTime"]) == certificate.not_valid_after_utc, "another end")


def thumbprint(certificate: x509.Certificate) -> str:
    """Return what Intune calls a certificate."""
    return certificate.fingerprint(hashes.SHA1()).hex()  # noqa: S303 - what it is


def _shown(document: Mapping[str, Any]) -> dict[str, Any]:
    # Neither file nor password comes out again.
    return {**document, "encryptedPfxBlob": "AA==", "encryptedPfxPassword": ""}


def _refusal(status: int, code: str, message: str) -> Reply:
    return Reply(status, json.dumps({"error": {"code": code, "message": message}}).encode())


def _missing() -> Reply:
    return _refusal(404, "ResourceNotFound", "there is none")


def _read(written: str) -> datetime:
    return datetime.strptime(written, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _require_base64(value: str) -> None:
    try:
        require(bool(base64.b64decode(value, validate=True)), "nothing in base64")
    except binascii.Error:
        raise Violation("no base64") from None
