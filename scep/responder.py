"""What an endpoint answers, in bytes: GetCACaps, GetCACert, and a CertRep to every PKIMessage (RFC 8894 sections 3.3 and 3.5).

Every refusal becomes a signed CertRep as soon as there is a transactionID to put in it; the transport then says HTTP 200. Only
what may succeed when the same message is sent again is left to the transport, as HTTP 503: certmonger (its scep-submit 0.79.17)
takes that for "unreachable", but a FAILURE for "rejected" (docs/decisions/0009).
"""

import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import structlog

from audit.log import Actor
from ca.authorisation import CaName
from ca.csr import CertificateRequest, parse_csr
from ca.errors import BadCertificateRequest, BadProofOfPossession
from foundation.errors import SignetryError, Unavailable
from foundation.transactions import Transactions
from scep import endpoint_keys, message, reply
from scep.algorithms import Digest
from scep.endpoint import Endpoint, UnknownEndpoint
from scep.endpoint_keys import EndpointKeys
from scep.enrolment import Enroller, Proposal
from scep.envelope import OpenedEnvelope, Recipient
from scep.errors import (
    EnvelopeUndecryptable,
    Exchange,
    FailInfo,
    LimitReached,
    MalformedMessage,
    NothingToGive,
    ScepRefusal,
    TooManyRequests,
    UnsupportedMessage,
)
from scep.limits import AddressLimiter
from scep.message import MessageType, ReceivedMessage
from scep.observation import Ending, Outcome, ScepObserver, Unobserved
from scep.pending import Poll
from scep.register import GrantedCertificate
from scep.request import EnrolmentRequest
from scep.retrieval import QUERIES, Retrieval

_log = structlog.get_logger("signetry.scep")

_ENROLMENTS: Final = frozenset({MessageType.PKCS_REQ, MessageType.RENEWAL_REQ})


@dataclass(frozen=True, slots=True)
class Awaited:
    """A CertRep that is made and must not leave the process before ``committed`` is done; then ``finish`` returns what may."""

    committed: Future[None]
    finish: Callable[[], bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Operation:
    """A message being answered; one that came too early, with that and ``retry_after`` how many seconds to come back."""

    endpoint: Endpoint
    keys: EndpointKeys
    received: ReceivedMessage
    actor: Actor
    started: float
    retry_after: int = 0


@dataclass(frozen=True, slots=True)
class _Sealing:
    """A request's envelope, opened, and how the answer can be enveloped to who sent it."""

    opened: OpenedEnvelope
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class _Owed:
    """What an answer rests on, and how another can be sealed in its place."""

    proposal: Proposal
    sealing: _Sealing


@dataclass(frozen=True, slots=True)
class _Answer:
    """A CertRep and how it ends the operation; what is ``owed`` must be committed before it may go out."""

    certrep: bytes = field(repr=False)
    ending: Ending
    owed: _Owed | None = None


class Responder:
    """Answers SCEP at the configured endpoints.

    Args:
        endpoints: by name.
        keys: gives the current keys of an issuing CA; asked at every request, so that new ones are seen at once.
        enroller: the use case behind PKCSReq, RenewalReq and CertPoll.
        transactions: the store, to which what the enroller proposes is handed.
        retrieval: the use case behind GetCert and GetCRL; without it they are refused.
        limiter: of messages by address, where an endpoint limits them.
        observer: told of every operation.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        keys: Callable[[CaName], EndpointKeys],
        enroller: Enroller,
        transactions: Transactions,
        *,
        retrieval: Retrieval | None = None,
        limiter: AddressLimiter | None = None,
        observer: ScepObserver | None = None,
    ) -> None:
        self._endpoints = dict(endpoints)
        self._keys = keys
        self._enroller = enroller
        self._transactions = transactions
        self._retrieval = retrieval
        self._limiter = limiter or AddressLimiter()
        self._observer = observer or Unobserved()

    def capabilities(self, endpoint: str) -> str:
        """Return the GetCACaps keywords, one a line (RFC 8894 section 3.5.2).

        Raises:
            UnknownEndpoint: there is none of this name.
        """
        at = self._endpoint(endpoint)
        self._observer.requested(endpoint, "GetCACaps")
        return endpoint_keys.capabilities(at, self._keys)

    def ca_certificates(self, endpoint: str) -> tuple[str, bytes]:
        """Return content type and body of GetCACert.

        Raises:
            UnknownEndpoint: there is none of this name.
        """
        at = self._endpoint(endpoint)
        self._observer.requested(endpoint, "GetCACert")
        return self._keys(at.issuing_ca).ca_certificates()

    def next_ca_certificates(self, endpoint: str) -> tuple[str, bytes]:
        """Return content type and body of GetNextCACert.

        Raises:
            UnknownEndpoint: there is none of this name.
            NoNextCa: no successor of the issuing CA is prepared.
        """
        at = self._endpoint(endpoint)
        self._observer.requested(endpoint, "GetNextCACert")
        return self._keys(at.issuing_ca).next_ca_certificates()

    def is_remote(self, endpoint: str) -> bool:
        """Say whether an answer here may take seconds, because somebody is asked over a network.

        Raises:
            UnknownEndpoint: there is none of this name.
        """
        return self._enroller.is_remote(self._endpoint(endpoint))

    def pki_operation(self, endpoint: str, der: bytes, *, origin: str) -> bytes:
        """Return the CertRep to the PKIMessage ``der``, waiting for whatever must be committed first; see ``begin``."""
        begun = self.begin(endpoint, der, origin=origin)
        return begun if isinstance(begun, bytes) else begun.finish()

    def begin(self, endpoint: str, der: bytes, *, origin: str) -> bytes | Awaited:
        """Return the CertRep to the PKIMessage ``der``, which came from the address ``origin``, or what it waits for.

        Raises, as ``Awaited.finish`` does:
            UnknownEndpoint: there is none of this name.
            ScepRefusal: the bytes hold no transactionID, so that no CertRep can be made.
            TooManyRequests: the address is far beyond its limit.
            Unavailable: the database or a key is; the same message may be answered later.
        """
        at = self._endpoint(endpoint)
        self._observer.requested(endpoint, "PKIOperation")
        started = time.perf_counter()
        try:
            retry_after = self._limiter.admit(at.name, origin, per_minute=at.limits.requests_per_minute)
            keys = self._keys(at.issuing_ca)
            received = message.parse(der)
        except ScepRefusal as refusal:
            _log.info("message refused", endpoint=at.name, origin=origin, reason=str(refusal))
            self._observer.ended(endpoint, _refused(refusal), time.perf_counter() - started)
            if refusal.exchange is None:
                raise
            return reply.failure(keys.ra[0], _admitted(at, refusal.exchange), refusal.fail_info, str(refusal))
        except BaseException as error:
            self._observer.ended(endpoint, Ending(_outcome_of(error)), time.perf_counter() - started)
            raise
        operation = _Operation(at, keys, received, Actor(f"scep:{at.name}", origin), started, retry_after)
        answer = self._guarded(operation, partial(self._answer, operation))
        if answer.owed is None:
            return self._ended(operation, answer)
        committed = self._transactions.submit(answer.owed.proposal.store)
        return Awaited(committed, partial(self._finished, operation, answer, answer.owed, committed))

    # --- ends ---

    def _finished(self, operation: _Operation, answer: _Answer, owed: _Owed, committed: Future[None]) -> bytes:
        error = committed.exception()
        if error is not None:
            answer = self._guarded(operation, partial(self._answer_otherwise, operation, owed, error))
        return self._ended(operation, answer)

    def _ended(self, operation: _Operation, answer: _Answer) -> bytes:
        self._observer.ended(operation.endpoint.name, answer.ending, time.perf_counter() - operation.started)
        return answer.certrep

    def _guarded(self, operation: _Operation, act: Callable[[], _Answer]) -> _Answer:
        """Run ``act``; whatever it raises becomes a CertRep, but for what may succeed when the same message is sent again."""
        endpoint, received, ra = operation.endpoint, operation.received, operation.keys.ra[0]
        try:
            return act()
        except Unavailable as error:
            _log.warning("request not answered", endpoint=endpoint.name, reason=str(error), transaction=received.transaction_id)
            self._observer.ended(endpoint.name, Ending(Outcome.UNAVAILABLE), time.perf_counter() - operation.started)
            raise
        except SignetryError as refusal:
            return _refusal(operation, refusal)
        except Exception:  # noqa: BLE001 - a defect of ours: the client gets a reference to the log, and nothing else
            reference = secrets.token_hex(4)
            _log.exception("enrolment failed unexpectedly", reference=reference)
            text = f"the request failed here; log reference {reference}"
            exchange = _admitted(endpoint, received.exchange)
            return _Answer(reply.failure(ra, exchange, FailInfo.BAD_REQUEST, text), Ending(Outcome.FAILED))

    # --- answers ---

    def _answer(self, operation: _Operation) -> _Answer:
        endpoint, received = operation.endpoint, operation.received
        queries = QUERIES if self._retrieval is not None else ()
        if received.message_type not in (*_ENROLMENTS, MessageType.CERT_POLL, *queries):
            # Anything else is refused before it is acted on: an unknown type must not slip past authorisation (CVE-2026-30836).
            raise UnsupportedMessage(f"message type {received.message_type} is not answered at this endpoint")
        message.check_algorithms(received, None, legacy=endpoint.legacy, museum=endpoint.museum)
        if operation.retry_after:
            return _held_off(operation)
        if self._retrieval is not None and received.message_type in QUERIES:
            return self._retrieved(operation, self._retrieval)
        opened = _opened(operation)
        if received.message_type == MessageType.CERT_POLL:
            return self._polled(operation, opened)
        return self._enrolled(operation, opened)

    def _enrolled(self, operation: _Operation, opened: OpenedEnvelope) -> _Answer:
        received = operation.received
        # First of all: until a request was found that verifies, no answer may tell that the envelope has opened.
        csr = _request_in(opened, received.exchange)
        # macOS was seen to put the challenge beside the envelope instead of into the request.
        challenge = csr.challenge or received.challenge or ""
        issuers = (operation.keys.authority.certificate_der, *(each.certificate_der for each in operation.keys.former))
        opens = reply.may_open_by_challenge(received.signer, csr.public_key, issuers)
        sealing = self._sealing(operation, opened, challenge if opens else "")
        request = EnrolmentRequest.received(
            received.transaction_id,
            csr,
            challenge,
            received.signer,
            must_renew=received.message_type == MessageType.RENEWAL_REQ,
        )
        keys = operation.keys
        proposed = self._enroller.propose(operation.endpoint, keys.authority, request, operation.actor, keys.former)
        return self._answer_to(operation, sealing, proposed)

    def _retrieved(self, operation: _Operation, retrieval: Retrieval) -> _Answer:
        received = operation.received
        try:
            # Whether it can be answered shows outside, and is decided there: said afterwards, it would tell that it opened.
            recipient = self._sealing(operation, message.recognise_envelope(received, operation.keys.ra), "").recipient
            opened = message.open_envelope(received, operation.keys.ra)
            query = retrieval.understood(received.message_type, opened.content)
        except (EnvelopeUndecryptable, MalformedMessage, NothingToGive) as error:
            raise NothingToGive(received.exchange) from error
        certrep = reply.found(opened.recipient, received, opened, recipient, retrieval.answer(query))
        return _Answer(certrep, Ending(Outcome.ANSWERED))

    def _polled(self, operation: _Operation, opened: OpenedEnvelope) -> _Answer:
        received = operation.received
        # A poll has no challenge, and none is kept: whose key can only sign sends the request itself again.
        sealing = self._sealing(operation, opened, "")
        poll = Poll(received.transaction_id, received.signer)
        keys = operation.keys
        proposed = self._enroller.poll(operation.endpoint, keys.authority, poll, operation.actor, keys.former)
        return self._answer_to(operation, sealing, proposed)

    def _sealing(self, operation: _Operation, opened: OpenedEnvelope, challenge: str) -> _Sealing:
        endpoint, received = operation.endpoint, operation.received
        message.check_algorithms(received, opened, legacy=endpoint.legacy, museum=endpoint.museum)
        return _Sealing(opened, reply.recipient(received, opened, challenge))

    def _answer_to(self, operation: _Operation, sealing: _Sealing, proposed: GrantedCertificate | Proposal) -> _Answer:
        if not isinstance(proposed, Proposal):
            return self._granted(operation, sealing, proposed, None)
        if proposed.refusal is not None:
            return replace(_refusal(operation, proposed.refusal), owed=_Owed(proposed, sealing))
        if proposed.granted is not None and proposed.granted.withheld:
            # Somebody is told after the commit and before the release: that takes its time, and threads of its own.
            return self._granted(operation, sealing, self._enroller.settle(proposed, operation.actor), None)
        return self._granted(operation, sealing, proposed.granted, proposed)

    def _answer_otherwise(self, operation: _Operation, owed: _Owed, error: BaseException) -> _Answer:
        if not isinstance(error, Exception):
            raise error
        granted = self._enroller.settle_failed(owed.proposal, error, operation.actor)
        return self._granted(operation, owed.sealing, granted, None)

    def _granted(
        self, operation: _Operation, sealing: _Sealing, granted: GrantedCertificate | None, proposal: Proposal | None
    ) -> _Answer:
        received, opened = operation.received, sealing.opened
        owed = None if proposal is None else _Owed(proposal, sealing)
        # Signed with the RA key that the client knows: jscep looks for the one it picked from GetCACert, maybe the one before.
        if granted is None:
            return _Answer(reply.pending(opened.recipient, received.exchange), Ending(Outcome.PENDING), owed)
        chain = (operation.keys.issuer_of(granted.der),) if operation.endpoint.reply_chain else ()
        certrep = reply.success(opened.recipient, received, opened, sealing.recipient, granted.der, chain)
        ending = Ending(Outcome.REPLAYED if granted.again else Outcome.ISSUED, profile=granted.profile)
        return _Answer(certrep, ending, owed)

    def _endpoint(self, name: str) -> Endpoint:
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            raise UnknownEndpoint("there is no such SCEP endpoint")
        return endpoint


def _opened(operation: _Operation) -> OpenedEnvelope:
    """Return the envelope of a message, opened; that of a poll stays closed, as nothing in it decides anything."""
    if operation.received.message_type == MessageType.CERT_POLL:
        return message.recognise_envelope(operation.received, operation.keys.ra)
    return message.open_envelope(operation.received, operation.keys.ra)


def _admitted(endpoint: Endpoint, exchange: Exchange) -> Exchange:
    """Return what a refusal repeats: the digest too where the endpoint takes it, else SHA-256."""
    weak = exchange.digest is Digest.SHA1 and not (endpoint.legacy or endpoint.museum)
    return replace(exchange, digest=Digest.SHA256) if weak else exchange


def _request_in(opened: OpenedEnvelope, exchange: Exchange) -> CertificateRequest:
    """Return the request in an envelope; what is wrong with one is told to the log alone."""
    try:
        return parse_csr(opened.content)
    except (BadCertificateRequest, BadProofOfPossession) as error:
        _log.info("certificate request refused", reason=str(error), transaction=exchange.transaction_id)
        raise EnvelopeUndecryptable(exchange) from error


def _refusal(operation: _Operation, refusal: SignetryError) -> _Answer:
    received = operation.received
    _log.info(
        "request refused",
        endpoint=operation.endpoint.name,
        origin=operation.actor.origin,
        reason=str(refusal),
        transaction=received.transaction_id,
    )
    exchange = _admitted(operation.endpoint, received.exchange)
    certrep = reply.failure(operation.keys.ra[0], exchange, _fail_info(refusal), str(refusal))
    return _Answer(certrep, _refused(refusal))


def _held_off(operation: _Operation) -> _Answer:
    """Answer what came too early without a private operation on what it holds, and without the database.

    A poll is told to poll again, which is what its client does anyhow; FAILURE would be the end of its enrolment.
    """
    ra, received = operation.keys.ra[0], operation.received
    if received.message_type == MessageType.CERT_POLL:
        return _Answer(reply.pending(ra, received.exchange), Ending(Outcome.LIMITED))
    raise LimitReached(f"too many requests from this address; come back in {operation.retry_after} seconds")


def _outcome_of(error: BaseException) -> Outcome:
    if isinstance(error, TooManyRequests):
        return Outcome.LIMITED
    return Outcome.UNAVAILABLE if isinstance(error, Unavailable) else Outcome.FAILED


def _refused(refusal: SignetryError) -> Ending:
    outcome = Outcome.LIMITED if isinstance(refusal, LimitReached) else Outcome.REFUSED
    return Ending(outcome, fail_info=_fail_info(refusal))


def _fail_info(refusal: SignetryError) -> FailInfo:
    """Return the failInfo of a refusal, wherever it was raised (RFC 8894 section 3.2.1.4)."""
    return refusal.fail_info if isinstance(refusal, ScepRefusal) else FailInfo.BAD_REQUEST
