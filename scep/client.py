"""SCEP from the other side: enrol, renew, poll, and ask for certificates and CRLs (RFC 8894 sections 3 and 4).

What the server says is believed only as far as it is signed: a reply must be signed with one of the certificates of GetCACert,
answer this very request, and carry a certificate over our key from the CA of GetCACert. Whether that CA is the right one only
the caller can know, by its fingerprint, or because the CA before it named it (GetNextCACert).
"""

import re
import secrets
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import httpx2
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from foundation.errors import BadRequest
from scep import message
from scep.ca_certificates import CaBag, plain_fingerprint, read_bag, read_next_bag, require_issued_by
from scep.client_keys import Application, ClientKey, Identity, build_csr, challenge_in, named, throwaway_signer
from scep.client_terms import Terms, terms_of
from scep.client_transport import MAX_REPLY_BYTES, ScepTransport
from scep.cms import read_certificates, read_crls
from scep.errors import EnrolmentPending, EnrolmentRefused, HttpFailed, ScepRefusal, ServerLacks, ServerMisbehaved
from scep.key_agreement import allows_agreement, can_agree
from scep.message import MessageType, PkiStatus, ReceivedMessage
from scep.queries import IssuerAndSerial, IssuerAndSubject, write_issuer_and_serial, write_issuer_and_subject
from scep.reply_envelope import open_reply
from scep.signing import Signer

__all__ = ["MAX_REPLY_BYTES", "ClientKey", "Identity", "ScepClient", "build_csr", "named", "throwaway_signer"]

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
NEXT_CA: Final = "GetNextCACert"
_QUESTIONS: Final = {MessageType.CERT_POLL: "CertPoll", MessageType.GET_CERT: "GetCert", MessageType.GET_CRL: "GetCRL"}
_LOOKS_FOR_SUCCESSOR: Final = 6
_SUCCESSOR_KNOWN_WITHIN_SECONDS: Final = 1.5


class ScepClient:
    """A SCEP server, as its client sees it. Use it as a context manager, or call ``close``.

    Args:
        url: the endpoint, without query.
        fingerprint: the SHA-256 of the issuing CA's certificate in hex, where the caller knows it; then no other CA is accepted,
            but one of the ``successors``.
        successors: certificates that the CA of the fingerprint named before it was followed.
        transport: how to reach the server, where it is not the network.
        legacy: whether SHA-1 and triple DES may be used where the server lists nothing better.
        oaep: whether requests are enveloped with RSAES-OAEP.

    Raises:
        BadRequest: the URL or the fingerprint is none.
    """

    def __init__(
        self,
        url: str,
        *,
        fingerprint: str = "",
        successors: Sequence[x509.Certificate] = (),
        transport: httpx2.BaseTransport | None = None,
        legacy: bool = False,
        oaep: bool = False,
    ) -> None:
        self._fingerprint = plain_fingerprint(fingerprint)
        if self._fingerprint and not _SHA256.fullmatch(self._fingerprint):
            raise BadRequest("the fingerprint is a SHA-256, 64 hexadecimal digits")
        self._transport = ScepTransport(url, transport)
        self._successors = tuple(successors)
        self._legacy = legacy
        self._oaep = oaep
        self._capabilities: frozenset[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    # --- what the server and its CA are ---

    def capabilities(self) -> frozenset[str]:
        """Return the keywords of GetCACaps; none where the server does not know the operation. It is asked once.

        Raises:
            ServerUnreachable: no answer.
        """
        if self._capabilities is None:
            try:
                answer = self._transport.get("GetCACaps")
            except HttpFailed:
                answer = b""
            self._capabilities = frozenset(answer.decode("ascii", "replace").split())
        return self._capabilities

    def ca_certificates(self) -> CaBag:
        """Return the certificates of GetCACert, told apart by what they say, not by their order.

        Raises:
            ServerUnreachable: no answer.
            ServerMisbehaved: no RA and CA certificates that belong together, or not the CA of the fingerprint.
        """
        bag = read_bag(self._transport.get("GetCACert"))
        if self._fingerprint and bag.fingerprint != self._fingerprint and bag.issuer not in self._successors:
            raise ServerMisbehaved(f"the server's CA has the fingerprint {bag.fingerprint}, not the expected one")
        return bag

    def next_ca_certificates(self, bag: CaBag) -> tuple[x509.Certificate, ...]:
        """Return the certificates that GetCACert is going to answer with, as today's CA or RA signed them (section 4.7).

        Raises:
            ServerLacks: no other CA is prepared.
            ServerMisbehaved: they are not signed by whom GetCACert names, or there is no CA among them.
            ServerUnreachable: no answer.
        """
        if NEXT_CA not in self.capabilities():
            raise ServerLacks("the server does not list GetNextCACert: no other CA is prepared there")
        return read_next_bag(self._transport.get(NEXT_CA), bag)

    # --- certificates of our own ---

    def enrol(self, bag: CaBag, key: ClientKey, csr: x509.CertificateSigningRequest) -> Identity:
        """Send a PKCSReq and return what it got. Sent again with the same request, it gets the same certificate.

        Raises:
            As for ``apply``.
        """
        return self.apply(bag, Application(csr, key))

    def renew(self, bag: CaBag, held: Identity, key: ClientKey) -> Identity:
        """Send a RenewalReq signed with ``held`` and return the certificate over ``key``, which may be the old key.

        Raises:
            As for ``apply``.
        """
        return self.apply(bag, Application(build_csr(key, held.certificate.subject), key, held))

    def apply(self, bag: CaBag, application: Application) -> Identity:
        """Send a PKCSReq, or a RenewalReq where there is a certificate to renew, and return what it got.

        Raises:
            EnrolmentRefused, EnrolmentPending: the server's decision; the latter is asked after with ``poll``.
            ServerLacks: the server takes nothing better than SHA-1 or triple DES.
            ServerUnreachable, ServerMisbehaved: no answer, or none to be believed.
        """
        message_type = MessageType.PKCS_REQ if application.held is None else MessageType.RENEWAL_REQ
        content = application.csr.public_bytes(serialization.Encoding.DER)
        return self._granted(bag, application, message_type, content)

    def poll(self, bag: CaBag, application: Application) -> Identity:
        """Ask after an application that was answered with PENDING: by CertPoll (RFC 8894 section 3.3.3).

        No reply to a CertPoll could be enveloped to a key that can only sign, as no challenge goes with it: there the request
        itself is sent again.

        Raises:
            As for ``apply``.
        """
        signer = application.signer
        public_key = signer.certificate.public_key()
        if can_agree(public_key) and not allows_agreement(signer.certificate):
            return self.apply(bag, application)
        query = IssuerAndSubject(bag.issuer.subject.public_bytes(), application.csr.subject.public_bytes())
        return self._granted(bag, application, MessageType.CERT_POLL, write_issuer_and_subject(query))

    # --- what anybody may ask for ---

    def certificate(self, bag: CaBag, signer: Signer, serial_number: int) -> x509.Certificate:
        """Return the certificate of the CA with this serial number: GetCert (RFC 8894 section 3.3.4).

        Raises:
            EnrolmentRefused: the server does not give it.
            ServerLacks, ServerUnreachable, ServerMisbehaved: as for ``apply``.
        """
        for certificate in self._certificates(self._ask(bag, signer, MessageType.GET_CERT, serial_number)):
            if certificate.serial_number == serial_number:
                require_issued_by(certificate, bag.issuer)
                return certificate
        raise ServerMisbehaved("the server answered SUCCESS without the certificate")

    def crl(self, bag: CaBag, signer: Signer, serial_number: int) -> x509.CertificateRevocationList:
        """Return the CRL that covers the certificate with this serial number: GetCRL (RFC 8894 section 3.3.5).

        Raises:
            As for ``certificate``.
        """
        content = self._ask(bag, signer, MessageType.GET_CRL, serial_number)
        try:
            crls = [x509.load_der_x509_crl(der) for der in read_crls(content)]
            for crl in crls:
                if crl.issuer == bag.issuer.subject and crl.is_signature_valid(bag.issuer.public_key()):  # type: ignore[arg-type] # whatever it is
                    return crl
        except (ScepRefusal, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ServerMisbehaved(f"the server's CRL cannot be read: {error}") from error
        raise ServerMisbehaved("the server answered SUCCESS without a CRL of the CA of GetCACert")

    # --- messages ---

    def _ask(self, bag: CaBag, signer: Signer, message_type: MessageType, serial_number: int) -> bytes:
        query = IssuerAndSerial(bag.issuer.subject.public_bytes(), serial_number)
        return self._exchange(bag, signer, message_type, write_issuer_and_serial(query), secrets.token_hex(16), "")

    def _granted(self, bag: CaBag, application: Application, message_type: MessageType, content: bytes) -> Identity:
        challenge = challenge_in(application.csr)
        answer = self._exchange(bag, application.signer, message_type, content, application.transaction_id, challenge)
        for certificate in self._certificates(answer):
            if application.is_answered_by(certificate):
                self._require_issued(certificate, bag)
                return Identity(certificate, application.key)
        raise ServerMisbehaved("the server answered SUCCESS without a certificate over our key")

    def _require_issued(self, certificate: x509.Certificate, bag: CaBag) -> None:
        """Return if the CA of ``bag`` issued ``certificate``, or the one that has taken its place since.

        That one must be what GetCACert names now, and certified by an authority that ``bag`` named.

        Raises:
            ServerMisbehaved: neither did.
        """
        issuer = bag.issuer
        for attempt in range(_LOOKS_FOR_SUCCESSOR):
            if certificate.issuer == issuer.subject:
                break
            if attempt:
                # One process of a server may know of it, and another one, for a moment, not yet.
                time.sleep(_SUCCESSOR_KNOWN_WITHIN_SECONDS / _LOOKS_FOR_SUCCESSOR)
            issuer = self.ca_certificates().issuer
        if issuer != bag.issuer:
            require_issued_by(issuer, next((each for each in bag.certificates if each.subject == issuer.issuer), bag.issuer))
        require_issued_by(certificate, issuer)

    def _certificates(self, content: bytes) -> list[x509.Certificate]:
        try:
            return [x509.load_der_x509_certificate(der) for der in read_certificates(content)]
        except (ScepRefusal, ValueError) as error:
            raise ServerMisbehaved(f"the server's reply cannot be read: {error}") from error

    def _exchange(
        self, bag: CaBag, signer: Signer, message_type: MessageType, content: bytes, transaction_id: str, challenge: str
    ) -> bytes:
        """Send a request and return what the reply's envelope holds."""
        terms = self._terms()
        nonce = message.new_nonce()
        der = message.build_request(
            signer,
            bag.ra,
            content,
            message_type=message_type,
            transaction_id=transaction_id,
            sender_nonce=nonce,
            suite=terms.suite,
        )
        try:
            reply = self._transport.send(der, post=terms.posts)
        except HttpFailed as error:
            if message_type not in _QUESTIONS:
                raise
            # Debian's scepserver, for one, knows enrolments only.
            raise ServerLacks(f"the server does not answer {_QUESTIONS[message_type]}: {error}") from error
        try:
            # Whatever it is sealed with: a certificate is no secret, and Debian's scepserver answers in single DES.
            return open_reply(_read_reply(reply, bag, transaction_id, nonce).content, signer, challenge)
        except ScepRefusal as error:
            raise ServerMisbehaved(f"the server's reply cannot be read: {error}") from error

    def _terms(self) -> Terms:
        return terms_of(self.capabilities(), legacy=self._legacy, oaep=self._oaep)


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
