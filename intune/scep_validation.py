"""Intune's part in an enrolment: is the request one of its devices', and what became of it.

Source: facts/mail_profiles.md section 4. Ask ``validate`` before anything is issued and ``notify_success`` before the certificate
is handed out; whatever either of them raises means that nobody gets it. ``notify_failure`` tells of failures of our own, never of
what these calls have raised.
"""

import base64
import hashlib
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Self

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AttributeOID, NameOID

from intune.calls import Call, Calls
from intune.discovery import Discovery
from intune.errors import IntuneUnavailable, RequestRejected, Throttled
from intune.tenant import Tenant
from intune.tokens import Tokens
from intune.transport import Transport
from intune.waiting import Deadline

_log = structlog.get_logger("intune.scep")

SERVICE: Final = "ScepRequestValidationFEService"
API_VERSION: Final = "2018-02-20"
MAX_DESCRIPTION: Final = 255
_SUCCESS: Final = "Success"
# Without "Unknown", which is also what anything beside them is called here.
CODES: Final = frozenset(
    {
        "CertificateRequestDecodingFailed",
        "ChallengePasswordMissing",
        "ChallengeDeserializationError",
        "ChallengeDecryptionError",
        "ChallengeDecodingError",
        "ChallengeInvalidTimestamp",
        "ChallengeExpired",
        "SubjectNameMissing",
        "SubjectNameMismatch",
        "SubjectAltNameMissing",
        "SubjectAltNameMismatch",
        "KeyUsageMismatch",
        "KeyLengthMismatch",
        "EnhancedKeyUsageMissing",
        "EnhancedKeyUsageMismatch",
        "AadKeyIdentifierListMissing",
        "RegisteredKeyMismatch",
        "SigningCertThumbprintMismatch",
        "ScepProfileNoLongerTargetedToTheClient",
        "SignatureValidationFailed",
        "BadCertificateRequestIdInChallenge",
        "BadDeviceIdInChallenge",
        "BadUserIdInChallenge",
    }
)


@dataclass(frozen=True, slots=True)
class ScepRequest:
    """A request as it came in: the transactionID, and the PKCS #10 request in DER, challengePassword included."""

    transaction_id: str
    csr: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """What was issued: the certificate (DER), its serial number as our records write it, its end, its issuer's DN and name."""

    der: bytes = field(repr=False)
    serial: str
    not_after: datetime
    issuer: str
    authority: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why we did not issue: an HRESULT, as a signed 32-bit number, and a sentence of which 255 characters count."""

    h_result: int
    description: str


class ScepValidation:
    """The ScepActions of one tenant's Intune, shared by all threads."""

    def __init__(self, tenant: Tenant, transport: Transport, discovery: Discovery, calls: Calls) -> None:
        self._tenant = tenant
        self._transport = transport
        self._discovery = discovery
        self._calls = calls

    @classmethod
    def of(cls, tenant: Tenant, transport: Transport) -> Self:
        """Return the ScepActions of ``tenant``, with tokens and discovery of their own."""
        calls = Calls(transport, Tokens(tenant, transport))
        return cls(tenant, transport, Discovery(tenant, calls, transport.ticker), calls)

    def validate(self, request: ScepRequest) -> None:
        """Return if Intune vouches for ``request``.

        Raises:
            RequestRejected: it does not.
            IntuneUnavailable: it does not say.
        """
        self._act("validateRequest", {"request": self._described(request)}, request)

    def notify_success(self, request: ScepRequest, issued: IssuedCertificate) -> None:
        """Tell what ``request`` is going to get. The same may be told again.

        Raises:
            RequestRejected: Intune does not want it to be handed out.
            IntuneUnavailable: it cannot be told.
        """
        notification = {
            **self._described(request),
            "certificateThumbprint": hashlib.sha1(issued.der, usedforsecurity=False).hexdigest().upper(),
            "certificateSerialNumber": issued.serial,
            "certificateExpirationDateUtc": _written(issued.not_after),
            "issuingCertificateAuthority": issued.issuer,
            # These two come back with Intune's requests to revoke.
            "caConfiguration": issued.authority,
            "certificateAuthority": issued.issuer,
        }
        self._act("successNotification", {"notification": notification}, request)

    def notify_failure(self, request: ScepRequest, failure: Failure) -> None:
        """Tell that ``request`` gets nothing, and why. Raises as ``notify_success``."""
        notification = {
            **self._described(request),
            "hResult": failure.h_result,
            "errorDescription": failure.description[:MAX_DESCRIPTION],
        }
        self._act("failureNotification", {"notification": notification}, request)

    def locate(self) -> str:
        """Return where the tenant's service is, as Microsoft Graph says. Raises IntuneUnavailable."""
        return self._discovery.endpoint(SERVICE, self._deadline())

    def probe(self) -> str:
        """Ask about a request that no device of Intune's has made, and return by which code it is rejected.

        Whoever gets a code has all that enrolments need: credentials, permissions, the service itself.

        Raises:
            IntuneUnavailable: what is missing.
        """
        try:
            self.validate(ScepRequest(str(uuid.uuid4()), _nobodys_request()))
        except RequestRejected as rejection:
            return rejection.code
        raise IntuneUnavailable("Intune vouches for a request that no device of its has made")

    def _deadline(self) -> Deadline:
        return Deadline.after(self._tenant.timeout_seconds, self._transport.ticker)

    def _described(self, request: ScepRequest) -> dict[str, object]:
        return {
            "transactionId": request.transaction_id,
            "certificateRequest": base64.b64encode(request.csr).decode("ascii"),
            "callerInfo": self._tenant.caller_info,
        }

    def _act(self, action: str, body: dict[str, object], request: ScepRequest) -> None:
        deadline = self._deadline()
        url = f"{self._discovery.endpoint(SERVICE, deadline)}/ScepActions/{action}"
        call = Call("POST", url, self._tenant.intune_scope, body=body, api_version=API_VERSION)
        try:
            answer = self._calls.perform(call, deadline)
        except Throttled:
            # Who asks for a pause is where it is expected to be.
            raise
        except IntuneUnavailable:
            self._discovery.clear()
            raise
        code = answer.get("code")
        if not isinstance(code, str):
            raise IntuneUnavailable("Intune's answer holds no code")
        if code == _SUCCESS:
            return
        _log.info(
            "request rejected",
            action=action,
            code=code[:60],
            description=str(answer.get("errorDescription"))[:300],
            transaction=request.transaction_id,
        )
        raise RequestRejected(code if code in CODES else "Unknown")


def _nobodys_request() -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signetry intune check")])
    builder = x509.CertificateSigningRequestBuilder(subject)
    # What Intune has made is signed and encrypted by it; this is neither.
    builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"none of its own")
    key = ec.generate_private_key(ec.SECP256R1())
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _written(moment: datetime) -> str:
    """Return a time as the service wants it: UTC, milliseconds, Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
