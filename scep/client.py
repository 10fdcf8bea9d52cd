"""SCEP from the other side: get the CA's certificates, enrol, renew (RFC 8894 section 3).

What the server says is believed only as far as it is signed: a reply must be signed with one of the certificates of GetCACert,
answer this very request, and carry a certificate over our key from the CA of GetCACert. Whether that CA is the right one only
the caller can know, by its fingerprint.
"""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Self

import httpx2
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import AttributeOID, NameOID

from foundation.errors import BadRequest
from scep import message
from scep.algorithms import Cipher, Digest, Suite
from scep.ca_certificates import CaBag, read_bag, require_issued_by
from scep.cms import read_certificates
from scep.errors import EnrolmentPending, EnrolmentRefused, ScepRefusal, ServerMisbehaved, ServerUnreachable
from scep.message import MessageType, PkiStatus, ReceivedMessage
from scep.signing import Signer

MAX_REPLY_BYTES: Final = 1024 * 1024
_TIMEOUT_SECONDS: Final = 30.0
# A reply lost on the way is asked for again with the same bytes: the server then answers with the same certificate.
_ATTEMPTS: Final = 3
_SIGNER_LIFETIME: Final = timedelta(days=7)
_SEPARATORS: Final = re.compile(r"[\s:]")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its key."""

    certificate: x509.Certificate
    private_key: rsa.RSAPrivateKey = field(repr=False)


def named(common_name: str) -> x509.Name:
    """Return a subject of nothing but a common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def build_csr(key: rsa.RSAPrivateKey, common_name: str, challenge: str = "") -> x509.CertificateSigningRequest:
    """Return a certificate request for ``key``: a name, which the server may ignore, and the challengePassword."""
    builder = x509.CertificateSigningRequestBuilder(named(common_name))
    if challenge:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    return builder.sign(key, hashes.SHA256())


def throwaway_signer(key: rsa.RSAPrivateKey, subject: x509.Name) -> Signer:
    """Return what a first request is signed with: ``key`` and a self-signed certificate over it (RFC 8894 section 2.3)."""
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(issuer_name=subject, subject_name=subject, public_key=key.public_key(), serial_number=1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _SIGNER_LIFETIME)
        .sign(key, hashes.SHA256())
    )
    return Signer.of(certificate, key)


class ScepClient:
    """A SCEP server, as its client sees it. Use it as a context manager, or call ``close``.

    Args:
        url: the endpoint, without query.
        fingerprint: the SHA-256 of the issuing CA's certificate in hex, where the caller knows it; then no other CA is accepted.
        transport: how to reach the server, where it is not the network.

    Raises:
        BadRequest: the URL or the fingerprint is none.
    """

    def __init__(self, url: str, *, fingerprint: str = "", transport: httpx2.BaseTransport | None = None) -> None:
        self._url = _checked(url)
        self._fingerprint = _SEPARATORS.sub("", fingerprint).lower()
        if self._fingerprint and not _SHA256.fullmatch(self._fingerprint):
            raise BadRequest("the fingerprint is a SHA-256, 64 hexadecimal digits")
        self._http = httpx2.Client(timeout=_TIMEOUT_SECONDS, follow_redirects=False, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def capabilities(self) -> frozenset[str]:
        """Return the keywords of GetCACaps.

        Raises:
            ServerUnreachable: no answer.
            ServerMisbehaved: no SCEP answer.
        """
        return frozenset(self._get("GetCACaps").decode("ascii", "replace").split())

    def ca_certificates(self) -> CaBag:
        """Return the certificates of GetCACert, told apart by what they say, not by their order.

        Raises:
            ServerUnreachable: no answer.
            ServerMisbehaved: no RA and CA certificates that belong together, or not the CA of the fingerprint.
        """
        bag = read_bag(self._get("GetCACert"))
        if self._fingerprint and bag.fingerprint != self._fingerprint:
            raise ServerMisbehaved(f"the server's CA has the fingerprint {bag.fingerprint}, not the expected one")
        return bag

    def enrol(self, bag: CaBag, key: rsa.RSAPrivateKey, csr: x509.CertificateSigningRequest) -> Identity:
        """Send a PKCSReq and return what it got. Sent again with the same request, it gets the same certificate.

        Raises:
            EnrolmentRefused, EnrolmentPending: the server's decision.
            ServerUnreachable, ServerMisbehaved: no answer, or none to be believed.
        """
        return self._request(bag, MessageType.PKCS_REQ, throwaway_signer(key, csr.subject), key, csr)

    def renew(self, bag: CaBag, held: Identity, key: rsa.RSAPrivateKey) -> Identity:
        """Send a RenewalReq signed with ``held`` and return the certificate over ``key``, which may be the old key.

        Raises:
            As for ``enrol``.
        """
        csr = x509.CertificateSigningRequestBuilder(held.certificate.subject).sign(key, hashes.SHA256())
        return self._request(bag, MessageType.RENEWAL_REQ, Signer.of(held.certificate, held.private_key), key, csr)

    def _request(
        self,
        bag: CaBag,
        message_type: MessageType,
        signer: Signer,
        key: rsa.RSAPrivateKey,
        csr: x509.CertificateSigningRequest,
    ) -> Identity:
        nonce = message.new_nonce()
        der = message.build_request(
            signer,
            bag.ra,
            csr.public_bytes(serialization.Encoding.DER),
            message_type=message_type,
            transaction_id=_transaction_id(csr),
            sender_nonce=nonce,
            suite=Suite(digest=Digest.SHA256, cipher=Cipher.AES256),
        )
        reply = self._post(der)
        try:
            # Whatever it is sealed with: a certificate is no secret, and Debian's scepserver answers in single DES.
            content = message.open_envelope(_read_reply(reply, bag, _transaction_id(csr), nonce), [signer]).content
            granted = [x509.load_der_x509_certificate(der) for der in read_certificates(content)]
        except (ScepRefusal, ValueError) as error:
            raise ServerMisbehaved(f"the server's reply cannot be read: {error}") from error
        for certificate in granted:
            if _is_over(certificate, key):
                require_issued_by(certificate, bag.issuer)
                return Identity(certificate, key)
        raise ServerMisbehaved("the server answered SUCCESS without a certificate over our key")

    def _get(self, operation: str) -> bytes:
        return self._exchange("GET", operation, None)

    def _post(self, der: bytes) -> bytes:
        return self._exchange("POST", "PKIOperation", der)

    def _exchange(self, method: str, operation: str, body: bytes | None) -> bytes:
        headers = {"content-type": "application/x-pki-message"} if body is not None else {}
        last: httpx2.HTTPError | None = None
        for _ in range(_ATTEMPTS):
            try:
                with self._http.stream(
                    method, self._url, params={"operation": operation}, content=body, headers=headers
                ) as answer:
                    return _bounded(answer)
            except httpx2.HTTPError as error:
                last = error
        raise ServerUnreachable(f"{self._url} does not answer: {type(last).__name__}")


def _checked(url: str) -> str:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        parsed = httpx2.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise BadRequest("the URL of an endpoint begins with http:// or https:// and a host name")
    return url


def _bounded(answer: httpx2.Response) -> bytes:
    received = b""
    for chunk in answer.iter_bytes():
        received += chunk
        if len(received) > MAX_REPLY_BYTES:
            raise ServerMisbehaved(f"an answer above {MAX_REPLY_BYTES} bytes")
    if answer.status_code != httpx2.codes.OK:
        raise ServerMisbehaved(f"HTTP {answer.status_code}: {received[:200].decode('utf-8', 'replace').strip()}")
    return received


def _read_reply(der: bytes, bag: CaBag, transaction_id: str, nonce: bytes) -> ReceivedMessage:
    answer = message.parse(der)
    if answer.message_type != MessageType.CERT_REP or answer.transaction_id != transaction_id or answer.recipient_nonce != nonce:
        raise ServerMisbehaved("the reply answers another request")
    # Being issued by the CA would not do: so is every other subscriber's certificate.
    if answer.signer.x509 not in bag.certificates:
        raise ServerMisbehaved("the reply is signed with a certificate that GetCACert did not name")
    if answer.pki_status == PkiStatus.SUCCESS:
        return answer
    if answer.pki_status == PkiStatus.PENDING:
        raise EnrolmentPending("the request waits for approval")
    raise EnrolmentRefused(answer.fail_info, answer.fail_info_text or "")


def _is_over(certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> bool:
    try:
        return certificate.public_key() == key.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False


def _transaction_id(csr: x509.CertificateSigningRequest) -> str:
    return hashlib.sha256(csr.public_bytes(serialization.Encoding.DER)).hexdigest()
