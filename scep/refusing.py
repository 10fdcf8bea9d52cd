"""How a request is refused: the CertRep FAILURE, its failInfo, and how the operation ends (RFC 8894 section 3.2.1.4)."""

from dataclasses import replace

import structlog

from foundation.errors import SignetryError, Unavailable
from scep import message, reply
from scep.algorithms import Digest
from scep.endpoint import Endpoint
from scep.errors import Exchange, FailInfo, LimitReached, ScepRefusal, TooManyRequests
from scep.message import MessageType
from scep.observation import Ending, Outcome
from scep.operation import Answer, Operation

_log = structlog.get_logger("signetry.scep")


def admitted_exchange(endpoint: Endpoint, exchange: Exchange) -> Exchange:
    """Return what a refusal repeats: the digest too where the endpoint takes it, else SHA-256."""
    weak = exchange.digest is Digest.SHA1 and not (endpoint.legacy or endpoint.museum)
    return replace(exchange, digest=Digest.SHA256) if weak else exchange


def refusal_answer(operation: Operation, refusal: SignetryError) -> Answer:
    """Answer FAILURE, with the words of ``refusal``, and log it."""
    received = operation.received
    _log.info(
        "request refused",
        endpoint=operation.endpoint.name,
        origin=operation.actor.origin,
        reason=str(refusal),
        transaction=received.transaction_id,
    )
    exchange = admitted_exchange(operation.endpoint, received.exchange)
    certrep = reply.failure(message.addressee(received, operation.keys.ra), exchange, _fail_info(refusal), str(refusal))
    return Answer(certrep, refused_ending(refusal))


def held_off_answer(operation: Operation) -> Answer:
    """Answer what came too early without a private operation on what it holds, and without the database.

    A poll is told to poll again, which is what its client does anyhow; FAILURE would be the end of its enrolment.
    """
    received = operation.received
    if received.message_type == MessageType.CERT_POLL:
        return Answer(reply.pending(message.addressee(received, operation.keys.ra), received.exchange), Ending(Outcome.LIMITED))
    raise LimitReached(f"too many requests from this address; come back in {operation.retry_after} seconds")


def outcome_of(error: BaseException) -> Outcome:
    """Return how an operation ends that is answered with no CertRep."""
    if isinstance(error, TooManyRequests):
        return Outcome.LIMITED
    return Outcome.UNAVAILABLE if isinstance(error, Unavailable) else Outcome.FAILED


def refused_ending(refusal: SignetryError) -> Ending:
    """Return how an operation ends that is refused."""
    outcome = Outcome.LIMITED if isinstance(refusal, LimitReached) else Outcome.REFUSED
    return Ending(outcome, fail_info=_fail_info(refusal))


def _fail_info(refusal: SignetryError) -> FailInfo:
    """Return the failInfo of a refusal, wherever it was raised (RFC 8894 section 3.2.1.4)."""
    return refusal.fail_info if isinstance(refusal, ScepRefusal) else FailInfo.BAD_REQUEST
