"""What an endpoint answers, in bytes: GetCACaps, GetCACert, and a CertRep to every PKIMessage (RFC 8894 sections 3.3 and 3.5).

Every refusal becomes a signed CertRep as soon as there is a transactionID to put in it; the transport then says HTTP 200. Only
what may succeed when the same message is sent again is left to the transport, as HTTP 503: certmonger (its scep-submit 0.79.17)
takes that for "unreachable", but a FAILURE for "rejected" (docs/decisions/0009).
"""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from audit.log import Actor
from ca.authorisation import CaName
from ca.csr import CertificateRequest, parse_csr
from ca.errors import BadCertificateRequest, BadProofOfPossession
from ca.issuance import IssuingAuthority
from foundation.errors import SignetryError, Unavailable
from scep import message, reply
from scep.endpoint import Endpoint, UnknownEndpoint
from scep.enrolment import Enroller, EnrolmentRequest
from scep.envelope import OpenedEnvelope
from scep.errors import EnvelopeUndecryptable, Exchange, FailInfo, ScepRefusal, UnsupportedMessage
from scep.message import MessageType, ReceivedMessage
from scep.observation import Ending, Outcome, ScepObserver, Unobserved
from scep.signing import Signer, certificates_only

_log = structlog.get_logger("signetry.scep")

_CA_RA_CERTIFICATES: Final = "application/x-x509-ca-ra-cert"
# SHA-384 stands in no registry; strongSwan 5.9.8 has a broken bitmask and refuses its own default AES without it.
# POSTPKIOperation and SCEPStandard spare clients the GET; Renewal is what macOS and certmonger look for before they renew
# (facts/scep.md section 3).
_CAPABILITIES: Final = ("AES", "POSTPKIOperation", "Renewal", "SCEPStandard", "SHA-256", "SHA-384", "SHA-512")
_LEGACY_CAPABILITIES: Final = ("DES3", "SHA-1")
_ENROLMENTS: Final = frozenset({MessageType.PKCS_REQ, MessageType.RENEWAL_REQ})


@dataclass(frozen=True, slots=True)
class EndpointKeys:
    """What answers at an endpoint: the issuing CA, and the RA's keys with the current one first."""

    authority: IssuingAuthority
    ra: tuple[Signer, ...]


class Responder:
    """Answers SCEP at the configured endpoints.

    Args:
        endpoints: by name.
        keys: gives the current keys of an issuing CA; asked at every request, so that new ones are seen at once.
        enroller: the use case behind PKCSReq and RenewalReq.
        observer: told of every operation.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        keys: Callable[[CaName], EndpointKeys],
        enroller: Enroller,
        *,
        observer: ScepObserver | None = None,
    ) -> None:
        self._endpoints = dict(endpoints)
        self._keys = keys
        self._enroller = enroller
        self._observer = observer or Unobserved()

    def capabilities(self, endpoint: str) -> str:
        """Return the GetCACaps keywords, one a line (RFC 8894 section 3.5.2).

        Raises:
            UnknownEndpoint: there is none of this name.
        """
        lenient = self._endpoint(endpoint)
        self._observer.requested(endpoint, "GetCACaps")
        legacy = _LEGACY_CAPABILITIES if lenient.legacy or lenient.museum else ()
        return "\n".join((*_CAPABILITIES, *legacy)) + "\n"

    def ca_certificates(self, endpoint: str) -> tuple[str, bytes]:
        """Return content type and body of GetCACert: RA, issuing CA and what is above it, in that order.

        The order is kept as it stands though DER would sort it: some clients take the first certificate for the RA's, and
        strongSwan needs the root (facts/scep.md section 3).

        Raises:
            UnknownEndpoint: there is none of this name.
        """
        at = self._endpoint(endpoint)
        self._observer.requested(endpoint, "GetCACert")
        keys = self._keys(at.issuing_ca)
        bag = (keys.ra[0].certificate_der, keys.authority.certificate_der, *keys.authority.chain)
        return _CA_RA_CERTIFICATES, certificates_only(bag)

    def pki_operation(self, endpoint: str, der: bytes, *, origin: str) -> bytes:
        """Return the CertRep to the PKIMessage ``der``, which came from the address ``origin``.

        Raises:
            UnknownEndpoint: there is none of this name.
            ScepRefusal: the bytes hold no transactionID, so that no CertRep can be made.
            Unavailable: the database or a key is; the same message may be answered later.
        """
        at = self._endpoint(endpoint)
        self._observer.requested(endpoint, "PKIOperation")
        started = time.perf_counter()
        ending = Ending(Outcome.FAILED)
        try:
            certrep, ending = self._certrep(at, der, origin)
        except ScepRefusal as refusal:
            ending = _refused(refusal)
            raise
        except Unavailable:
            ending = Ending(Outcome.UNAVAILABLE)
            raise
        finally:
            self._observer.ended(endpoint, ending, time.perf_counter() - started)
        return certrep

    def _certrep(self, at: Endpoint, der: bytes, origin: str) -> tuple[bytes, Ending]:
        keys = self._keys(at.issuing_ca)
        try:
            received = message.parse(der)
        except ScepRefusal as refusal:
            _log.info("message refused", endpoint=at.name, origin=origin, reason=str(refusal))
            if refusal.exchange is None:
                raise
            return reply.failure(keys.ra[0], refusal.exchange, refusal.fail_info, str(refusal)), _refused(refusal)
        try:
            return self._answer(at, keys, received, origin)
        except Unavailable as error:
            _log.warning("request not answered", endpoint=at.name, reason=str(error), transaction=received.transaction_id)
            raise
        except SignetryError as refusal:
            _log.info(
                "request refused", endpoint=at.name, origin=origin, reason=str(refusal), transaction=received.transaction_id
            )
            ending = _refused(refusal)
            return reply.failure(keys.ra[0], received.exchange, _fail_info(refusal), str(refusal)), ending
        except Exception:  # noqa: BLE001 - a defect of ours: the client gets a reference to the log, and nothing else
            return self._defect(keys, received.exchange), Ending(Outcome.FAILED)

    def _answer(self, endpoint: Endpoint, keys: EndpointKeys, received: ReceivedMessage, origin: str) -> tuple[bytes, Ending]:
        if received.message_type not in _ENROLMENTS:
            # Anything else is refused before it is acted on: an unknown type must not slip past authorisation (CVE-2026-30836).
            raise UnsupportedMessage(f"message type {received.message_type} is not answered at this endpoint")
        message.check_algorithms(received, None, legacy=endpoint.legacy, museum=endpoint.museum)
        opened = message.open_envelope(received, keys.ra)
        # First of all: until a request was found that verifies, no answer may tell that the envelope has opened.
        csr = _request_in(opened, received.exchange)
        message.check_algorithms(received, opened, legacy=endpoint.legacy, museum=endpoint.museum)
        reply.recipient_key(received, opened)
        request = EnrolmentRequest(
            transaction_id=received.transaction_id,
            csr=csr,
            # macOS was seen to put the challenge beside the envelope instead of into the request.
            challenge=csr.challenge or received.challenge or "",
            signer=received.signer,
            must_renew=received.message_type == MessageType.RENEWAL_REQ,
        )
        actor = Actor(f"scep:{endpoint.name}", origin)
        granted = self._enroller.enrol(endpoint, keys.authority, request, actor)
        chain = (keys.authority.certificate_der,) if endpoint.reply_chain else ()
        # Signed with the RA key that the client knows: jscep looks for the one it picked from GetCACert, maybe the one before.
        certrep = reply.success(opened.recipient, received, opened, granted.der, chain)
        return certrep, Ending(Outcome.REPLAYED if granted.again else Outcome.ISSUED, profile=granted.profile)

    def _defect(self, keys: EndpointKeys, exchange: Exchange) -> bytes:
        reference = secrets.token_hex(4)
        _log.exception("enrolment failed unexpectedly", reference=reference)
        return reply.failure(keys.ra[0], exchange, FailInfo.BAD_REQUEST, f"the request failed here; log reference {reference}")

    def _endpoint(self, name: str) -> Endpoint:
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            raise UnknownEndpoint("there is no such SCEP endpoint")
        return endpoint


def _request_in(opened: OpenedEnvelope, exchange: Exchange) -> CertificateRequest:
    """Return the request in an envelope; what is wrong with one is told to the log alone."""
    try:
        return parse_csr(opened.content)
    except (BadCertificateRequest, BadProofOfPossession) as error:
        _log.info("certificate request refused", reason=str(error), transaction=exchange.transaction_id)
        raise EnvelopeUndecryptable(exchange) from error


def _refused(refusal: SignetryError) -> Ending:
    return Ending(Outcome.REFUSED, fail_info=_fail_info(refusal))


def _fail_info(refusal: SignetryError) -> FailInfo:
    """Return the failInfo of a refusal, wherever it was raised (RFC 8894 section 3.2.1.4)."""
    return refusal.fail_info if isinstance(refusal, ScepRefusal) else FailInfo.BAD_REQUEST
