"""A fixed short corpus of mutants against the codec; the long run, against a server, is ``make fuzz``."""

from itertools import islice

from ca.csr import parse_csr
from ca.errors import BadCertificateRequest, BadProofOfPossession
from scep import reply
from scep.errors import ScepRefusal
from scep.message import ReceivedMessage, open_envelope, parse
from tests.fuzz.messages import MessageSource
from tests.scep.messages import CAPTURED, CLIENT, CSR, RA, captured

_COUNT = 1500
_SEED = 8894


def _digested(der: bytes) -> str:
    """Do what the RA does up to the decision, and say how far the message came."""
    step, received = "parse", None
    try:
        received = parse(der)
        step = "open"
        envelope = open_envelope(received, [RA])
        step = "read"
        parse_csr(envelope.content)
    except ScepRefusal as refusal:
        if refusal.exchange is not None:
            _answered(reply.failure(RA, refusal.exchange, refusal.fail_info, str(refusal)))
        return f"{step}: {type(refusal).__name__}"
    except (BadCertificateRequest, BadProofOfPossession) as refusal:
        return f"{step}: {type(refusal).__name__}"
    _answered(reply.success(RA, received, envelope, CLIENT.certificate_der))
    return "accepted"


def _answered(der: bytes) -> ReceivedMessage:
    return parse(der)


def test_mutants_are_refused_or_understood_and_always_answerable() -> None:
    source = MessageSource(_SEED, [captured(name) for name in CAPTURED], signer=CLIENT, recipient=RA.certificate, request=CSR)
    outcomes = {_digested(der) for der in islice(source, _COUNT)}
    # The corpus is worth its time only while it gets to every layer.
    assert outcomes >= {
        "accepted",
        "parse: MalformedMessage",
        "parse: BadSignature",
        "open: MalformedMessage",
        "open: AlgorithmRefused",
        "open: EnvelopeUndecryptable",
        "read: BadCertificateRequest",
        "read: BadProofOfPossession",
    }
