"""What a webhook is sent, and what it answers: JSON either way, signed either way (docs/webhook.md).

The signatures are those of Standard Webhooks: HMAC-SHA256 over ``id.timestamp.body``, in base64 behind ``v1,``; several of them,
separated by spaces, while one secret takes another's place.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal, Self

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ca.names import RequestedNames
from ca.profiles import key_family
from scep.request import PresentedRequest

VERSION: Final = 1
LONGEST_REASON: Final = 200
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what a secret begins with
SHORTEST_KEY: Final = 16
# How far the clocks of both sides may be apart.
CLOCKS_APART: Final = timedelta(minutes=5)

_ID: Final = "webhook-id"
_TIMESTAMP: Final = "webhook-timestamp"
_SIGNATURE: Final = "webhook-signature"
_SCHEME: Final = "v1,"
_MOST_SIGNATURES: Final = 10

Text = Annotated[str, Field(max_length=255)]
TextList = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...], Field(max_length=100)]


class WebhookMisbehaved(Exception):
    """An answer that is not what docs/webhook.md asks for; the message is for our administrator."""


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AnsweredNames(_Shape):
    """The names that an answer asks for, as it writes them."""

    display_name: Text = ""
    given_name: Text = ""
    surname: Text = ""
    upn: Text = ""
    emails: TextList = ()
    sid: Text = ""
    device_name: Text = ""
    dns_names: TextList = ()
    uris: TextList = ()


class Answer(_Shape):
    """What a webhook decided. ``person`` is a UPN or mail address, ``device`` a name, of our records; empty for none."""

    decision: Literal["allow", "deny"]
    reason: str = Field(default="", max_length=LONGEST_REASON)
    profile: Text = ""
    person: Text = ""
    device: Text = ""
    names: AnsweredNames | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        given = (self.profile, self.person, self.device, self.names)
        if self.decision == "deny" and any(given):
            raise ValueError("an answer that denies holds nothing but a reason")
        if self.decision == "allow" and not (self.profile and any(given[1:])):
            raise ValueError("an answer that allows says profile, and a person, a device or names")
        return self


def read_key(secret: str) -> bytes:
    """Return the key that a secret stands for: base64 behind ``whsec_``, or the very text.

    Raises:
        ValueError: it is none, or has fewer than 16 bytes.
    """
    try:
        if secret.startswith(SECRET_PREFIX):
            key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        else:
            key = secret.encode()
    except binascii.Error:
        raise ValueError("what follows whsec_ is not base64") from None
    if len(key) < SHORTEST_KEY:
        raise ValueError(f"a secret has {SHORTEST_KEY} bytes at least")
    return key


def signature_headers(keys: Sequence[bytes], message_id: str, body: bytes, *, now: datetime) -> dict[str, str]:
    """Return the headers that sign ``body`` with each of ``keys``."""
    timestamp = str(int(now.timestamp()))
    signatures = " ".join(_SCHEME + _sign(key, message_id, timestamp, body) for key in keys)
    return {_ID: message_id, _TIMESTAMP: timestamp, _SIGNATURE: signatures}


def verify(keys: Sequence[bytes], message_id: str, headers: Mapping[str, str], body: bytes, *, now: datetime) -> None:
    """Return if ``body`` is signed with one of ``keys``, as the answer to the message of this id, just now.

    Raises:
        WebhookMisbehaved: the message says what is wrong with it.
    """
    timestamp = headers.get(_TIMESTAMP, "")
    if headers.get(_ID, "") != message_id:
        raise WebhookMisbehaved("the answer does not repeat the webhook-id of the request")
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= len("99999999999")):
        raise WebhookMisbehaved("the answer has no webhook-timestamp in seconds")
    if abs(int(timestamp) - now.timestamp()) > CLOCKS_APART.total_seconds():
        raise WebhookMisbehaved("the answer's webhook-timestamp is too far from our time")
    presented = headers.get(_SIGNATURE, "").split(" ")[:_MOST_SIGNATURES]
    expected = [_SCHEME + _sign(key, message_id, timestamp, body) for key in keys]
    if not any([hmac.compare_digest(one.encode(), other.encode()) for one in presented for other in expected]):  # noqa: C419 - all of them
        raise WebhookMisbehaved("the answer is not signed with the secret of this endpoint")


def read_answer(body: bytes) -> Answer:
    """Read an answer that has been verified.

    Raises:
        WebhookMisbehaved: it is no JSON, or not of the documented shape; nothing in it is repeated.
    """
    try:
        return Answer.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the answer"
        raise WebhookMisbehaved(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None


def request_body(presented: PresentedRequest) -> bytes:
    """Return the facts of a request, as JSON."""
    request, held = presented.request, presented.held
    csr, signer = request.csr, request.signer
    document = {
        "version": VERSION,
        "endpoint": presented.endpoint.name,
        "profiles": sorted(presented.endpoint.profiles),
        "request_id": presented.retry_key,
        "transaction_id": request.transaction_id,
        "message_type": "RenewalReq" if request.must_renew else "PKCSReq",
        "address": presented.origin,
        "challenge": request.challenge,
        "csr": {
            "der": base64.b64encode(csr.der).decode(),
            "sha256": request.csr_digest,
            "subject": [[oid, text] for oid, text in csr.subject],
            "requested": _requested(csr.requested),
            "key": {**_key(csr.public_key), "spki_sha256": hashlib.sha256(csr.spki_der).hexdigest()},
        },
        "signer": {
            "sha256": hashlib.sha256(signer.der).hexdigest(),
            "spki_sha256": signer.spki_sha256,
            "has_requested_key": signer.public_key == csr.public_key,
            "issued_here": None
            if held is None
            else {
                "serial": held.serial,
                "profile": held.profile,
                "not_after": held.not_after.isoformat(),
                "revoked": held.revoked,
            },
        },
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _requested(names: RequestedNames) -> dict[str, object]:
    return {
        "common_name": names.common_name,
        "emails": names.emails,
        "upns": names.upns,
        "dns_names": names.dns_names,
        "uris": names.uris,
        "sids": names.sids,
        "other": names.other,
        "organisational_units": names.organisational_units,
        "ca": names.wants_ca,
    }


def _key(key: object) -> dict[str, object]:
    """Return algorithm, size and curve."""
    bits = key.key_size if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) else None
    curve = key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else None
    return {"algorithm": str(key_family(key) or "other").lower(), "bits": bits, "curve": curve}


def _sign(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    signed = f"{message_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
