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
from foundation.errors import SignetryError, Unavailable
from foundation.transactions import Transactions
from scep import endpoint_keys, message, reply
from scep.endpoint import Endpoint, UnknownEndpoint
from scep.endpoint_keys import EndpointKeys
from scep.enrolment import Enroller, Proposal
from scep.envelope import OpenedEnvelope
from scep.errors import (
    EnvelopeUndecryptable,
    FailInfo,
    MalformedMessage,
    NothingToGive,
    ScepRefusal,
    UnsupportedMessage,
)
from scep.limits import AddressLimiter
from scep.message import MessageType
from scep.observation import Ending, Outcome, ScepObserver, Unobserved
from scep.operation import Answer, Operation, Owed, Sealing, opened_envelope, request_in
from scep.pending import Poll
from scep.refusing import admitted_exchange, held_off_answer, outcome_of, refusal_answer, refused_ending
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
            self._observer.ended(endpoint, refused_ending(refusal), time.perf_counter() - started)
            if refusal.exchange is None:
                raise
            return reply.failure(keys.ra[0], admitted_exchange(at, refusal.exchange), refusal.fail_info, str(refusal))
        except BaseException as error:
            self._observer.ended(endpoint, Ending(outcome_of(error)), time.perf_counter() - started)
            raise
        operation = Operation(at, keys, received, Actor(f"scep:{at.name}", origin), started, retry_after)
        answer = self._guarded(operation, partial(self._answer, operation))
        if answer.owed is None:
            return self._ended(operation, answer)
        committed = self._transactions.submit(answer.owed.proposal.store)
        return Awaited(committed, partial(self._finished, operation, answer, answer.owed, committed))

    # --- ends ---

    def _finished(self, operation: Operation, answer: Answer, owed: Owed, committed: Future[None]) -> bytes:
        error = committed.exception()
        if error is not None:
            answer = self._guarded(operation, partial(self._answer_otherwise, operation, owed, error))
        return self._ended(operation, answer)

    def _ended(self, operation: Operation, answer: Answer) -> bytes:
        self._observer.ended(operation.endpoint.name, answer.ending, time.perf_counter() - operation.started)
        return answer.certrep

    def _guarded(self, operation: Operation, act: Callable[[], Answer]) -> Answer:
        """Run ``act``; whatever it raises becomes a CertRep, but for what may succeed when the same message is sent again."""
        endpoint, received = operation.endpoint, operation.received
        try:
            return act()
        except Unavailable as error:
            _log.warning("request not answered", endpoint=endpoint.name, reason=str(error), transaction=received.transaction_id)
            self._observer.ended(endpoint.name, Ending(Outcome.UNAVAILABLE), time.perf_counter() - operation.started)
            raise
        except SignetryError as refusal:
            return refusal_answer(operation, refusal)
        except Exception:  # noqa: BLE001 - a defect of ours: the client gets a reference to the log, and nothing else
            reference = secrets.token_hex(4)
            _log.exception("enrolment failed unexpectedly", reference=reference)
            text = f"the request failed here; log reference {reference}"
            ra, exchange = message.addressee(received, operation.keys.ra), admitted_exchange(endpoint, received.exchange)
            return Answer(reply.failure(ra, exchange, FailInfo.BAD_REQUEST, text), Ending(Outcome.FAILED))

    # --- answers ---

    def _answer(self, operation: Operation) -> Answer:
        endpoint, received = operation.endpoint, operation.received
        queries = QUERIES if self._retrieval is not None else ()
        if received.message_type not in (*_ENROLMENTS, MessageType.CERT_POLL, *queries):
            # Anything else is refused before it is acted on: an unknown type must not slip past authorisation (CVE-2026-30836).
            raise UnsupportedMessage(f"message type {received.message_type} is not answered at this endpoint")
        message.check_algorithms(received, None, legacy=endpoint.legacy, museum=endpoint.museum)
        if operation.retry_after:
            return held_off_answer(operation)
        if self._retrieval is not None and received.message_type in QUERIES:
            return self._retrieved(operation, self._retrieval)
        opened = opened_envelope(operation)
        if received.message_type == MessageType.CERT_POLL:
            return self._polled(operation, opened)
        return self._enrolled(operation, opened)

    def _enrolled(self, operation: Operation, opened: OpenedEnvelope) -> Answer:
        received = operation.received
        # First of all: until a request was found that verifies, no answer may tell that the envelope has opened.
        csr = request_in(opened, received.exchange)
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

    def _retrieved(self, operation: Operation, retrieval: Retrieval) -> Answer:
        received = operation.received
        try:
            # Whether it can be answered shows outside, and is decided there: said afterwards, it would tell that it opened.
            recipient = self._sealing(operation, message.recognise_envelope(received, operation.keys.ra), "").recipient
            opened = message.open_envelope(received, operation.keys.ra)
            query = retrieval.understood(received.message_type, opened.content)
        except (EnvelopeUndecryptable, MalformedMessage, NothingToGive) as error:
            raise NothingToGive(received.exchange) from error
        certrep = reply.found(opened.recipient, received, opened, recipient, retrieval.answer(query))
        return Answer(certrep, Ending(Outcome.ANSWERED))

    def _polled(self, operation: Operation, opened: OpenedEnvelope) -> Answer:
        received = operation.received
        # A poll has no challenge, and none is kept: whose key can only sign sends the request itself again.
        sealing = self._sealing(operation, opened, "")
        poll = Poll(received.transaction_id, received.signer)
        keys = operation.keys
        proposed = self._enroller.poll(operation.endpoint, keys.authority, poll, operation.actor, keys.former)
        return self._answer_to(operation, sealing, proposed)

    def _sealing(self, operation: Operation, opened: OpenedEnvelope, challenge: str) -> Sealing:
        endpoint, received = operation.endpoint, operation.received
        message.check_algorithms(received, opened, legacy=endpoint.legacy, museum=endpoint.museum)
        return Sealing(opened, reply.recipient(received, opened, challenge))

    def _answer_to(self, operation: Operation, sealing: Sealing, proposed: GrantedCertificate | Proposal) -> Answer:
        if not isinstance(proposed, Proposal):
            return self._granted(operation, sealing, proposed, None)
        if proposed.refusal is not None:
            return replace(refusal_answer(operation, proposed.refusal), owed=Owed(proposed, sealing))
        if proposed.granted is not None and proposed.granted.withheld:
            # Somebody is told after the commit and before the release: that takes its time, and threads of its own.
            return self._granted(operation, sealing, self._enroller.settle(proposed, operation.actor), None)
        return self._granted(operation, sealing, proposed.granted, proposed)

    def _answer_otherwise(self, operation: Operation, owed: Owed, error: BaseException) -> Answer:
        if not isinstance(error, Exception):
            raise error
        granted = self._enroller.settle_failed(owed.proposal, error, operation.actor)
        return self._granted(operation, owed.sealing, granted, None)

    def _granted(
        self, operation: Operation, sealing: Sealing, granted: GrantedCertificate | None, proposal: Proposal | None
    ) -> Answer:
        received, opened = operation.received, sealing.opened
        owed = None if proposal is None else Owed(proposal, sealing)
        # Signed with the RA key that the client knows: jscep looks for the one it picked from GetCACert, maybe the one before.
        if granted is None:
            return Answer(reply.pending(opened.recipient, received.exchange), Ending(Outcome.PENDING), owed)
        chain = (operation.keys.issuer_of(granted.der),) if operation.endpoint.reply_chain else ()
        certrep = reply.success(opened.recipient, received, opened, sealing.recipient, granted.der, chain)
        ending = Ending(Outcome.REPLAYED if granted.again else Outcome.ISSUED, profile=granted.profile)
        return Answer(certrep, ending, owed)

    def _endpoint(self, name: str) -> Endpoint:
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            raise UnknownEndpoint("there is no such SCEP endpoint")
        return endpoint
