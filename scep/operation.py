"""A PKIMessage on its way to its answer: what is known of it, and what the answer rests on."""

from dataclasses import dataclass, field

import structlog

from audit.log import Actor
from ca.csr import CertificateRequest, parse_csr
from ca.errors import BadCertificateRequest, BadProofOfPossession
from scep import message
from scep.endpoint import Endpoint
from scep.endpoint_keys import EndpointKeys
from scep.enrolment import Proposal
from scep.envelope import OpenedEnvelope, Recipient
from scep.errors import EnvelopeUndecryptable, Exchange
from scep.message import MessageType, ReceivedMessage
from scep.observation import Ending

_log = structlog.get_logger("signetry.scep")


@dataclass(frozen=True, slots=True)
class Operation:
    """A message being answered; one that came too early, with that and ``retry_after`` how many seconds to come back."""

    endpoint: Endpoint
    keys: EndpointKeys
    received: ReceivedMessage
    actor: Actor
    started: float
    retry_after: int = 0


@dataclass(frozen=True, slots=True)
class Sealing:
    """A request's envelope, opened, and how the answer can be enveloped to who sent it."""

    opened: OpenedEnvelope
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class Owed:
    """What an answer rests on, and how another can be sealed in its place."""

    proposal: Proposal
    sealing: Sealing


@dataclass(frozen=True, slots=True)
class Answer:
    """A CertRep and how it ends the operation; what is ``owed`` must be committed before it may go out."""

    certrep: bytes = field(repr=False)
    ending: Ending
    owed: Owed | None = None


def opened_envelope(operation: Operation) -> OpenedEnvelope:
    """Return the envelope of a message, opened; that of a poll stays closed, as nothing in it decides anything."""
    if operation.received.message_type == MessageType.CERT_POLL:
        return message.recognise_envelope(operation.received, operation.keys.ra)
    return message.open_envelope(operation.received, operation.keys.ra)


def request_in(opened: OpenedEnvelope, exchange: Exchange) -> CertificateRequest:
    """Return the request in an envelope; what is wrong with one is told to the log alone."""
    try:
        return parse_csr(opened.content)
    except (BadCertificateRequest, BadProofOfPossession) as error:
        _log.info("certificate request refused", reason=str(error), transaction=exchange.transaction_id)
        raise EnvelopeUndecryptable(exchange) from error
