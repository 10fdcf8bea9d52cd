"""A fixed short corpus of mutants against the codec; the long run, against a server, is ``make fuzz``."""

import random
from functools import cache
from itertools import islice

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ca.csr import parse_csr
from ca.errors import BadCertificateRequest, BadProofOfPossession
from scep import reply
from scep.algorithms import Cipher
from scep.cms import read_certificates
from scep.envelope import Recipient, seal
from scep.errors import ScepRefusal
from scep.key_agreement import AgreementRecipient
from scep.message import MessageType, ReceivedMessage, open_envelope, parse, recognise_envelope
from scep.password_recipient import PasswordRecipient
from scep.queries import read_issuer_and_serial, read_issuer_and_subject
from scep.reply_envelope import open_reply
from scep.signing import certificates_only, crl_only
from tests.fuzz.messages import MessageSource
from tests.fuzz.mutations import mutate
from tests.scep.messages import CAPTURED, CLIENT, CSR, RA, captured, success
from tests.vectors.scep.build import built, ec_key, self_signed

_COUNT = 1800
_SEED = 8894


def _digested(der: bytes) -> str:
    """Do what the RA does up to the decision, and say how far the message came."""
    step, received = "parse", None
    try:
        received = parse(der)
        step = "open"
        if received.message_type == MessageType.CERT_POLL:
            recognise_envelope(received, [RA])
        envelope = open_envelope(received, [RA])
        step = "read"
        understood = _read(received.message_type, envelope.content)
    except ScepRefusal as refusal:
        if refusal.exchange is not None:
            _answered(reply.failure(RA, refusal.exchange, refusal.fail_info, str(refusal)))
        return f"{step}: {type(refusal).__name__}"
    except (BadCertificateRequest, BadProofOfPossession) as refusal:
        return f"{step}: {type(refusal).__name__}"
    try:
        _answered(success(RA, received, envelope, CLIENT.certificate_der))
    except ScepRefusal as refusal:
        return f"answer: {type(refusal).__name__}"
    return f"accepted: {understood}"


def _read(message_type: int, content: bytes) -> str:
    if message_type == MessageType.CERT_POLL:
        read_issuer_and_subject(content)
        return "poll"
    if message_type in (MessageType.GET_CERT, MessageType.GET_CRL):
        read_issuer_and_serial(content)
        return "question"
    parse_csr(content)
    return "request"


def _answered(der: bytes) -> ReceivedMessage:
    return parse(der)


def test_mutants_are_refused_or_understood_and_always_answerable() -> None:
    originals = [*(captured(name) for name in CAPTURED), *built()]
    source = MessageSource(_SEED, originals, signer=CLIENT, recipient=RA.certificate, request=CSR)
    outcomes = {_digested(der) for der in islice(source, _COUNT)}
    # The corpus is worth its time only while it gets to every layer.
    assert outcomes >= {
        "accepted: request",
        "accepted: poll",
        "accepted: question",
        "parse: MalformedMessage",
        "parse: BadSignature",
        "open: MalformedMessage",
        "open: AlgorithmRefused",
        "open: EnvelopeUndecryptable",
        "read: BadCertificateRequest",
        "read: BadProofOfPossession",
        "read: MalformedMessage",
    }


# --- what a client with an EC key reads ---


@cache
def _elliptic() -> Recipient:
    public_key = ec_key().public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    return AgreementRecipient(public_key, self_signed(ec_key()).issuer_and_serial)


@pytest.mark.parametrize(
    ("recipient", "count"), [(_elliptic(), 600), (PasswordRecipient("a-challenge"), 40)], ids=["by key agreement", "by password"]
)
@pytest.mark.parametrize("content", [certificates_only((CLIENT.certificate_der,)), crl_only(b"\x30\x00")], ids=["issued", "CRL"])
def test_mutants_of_replies_to_ec_clients_raise_declared_errors_only(recipient: Recipient, count: int, content: bytes) -> None:
    """Few of those by password: a mutant may ask for more rounds, up to what a client does at most."""
    source = random.Random(_SEED)
    sealed = seal(content, recipient, Cipher.AES128)
    signer = self_signed(ec_key())
    assert open_reply(sealed, signer, "a-challenge") == content
    opened = 0
    for _ in range(count):
        try:
            read_certificates(open_reply(mutate(source, sealed), signer, "a-challenge"))
        except ScepRefusal:
            continue
        opened += 1
    assert opened < count
