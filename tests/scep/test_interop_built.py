"""Messages of clients not at hand (``tests/vectors/scep/build.py``): read as ``built.json`` says, and answered."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from ca.csr import parse_csr
from scep import reply
from scep.cms import read_certificates
from scep.envelope import OpenedEnvelope
from scep.http import decode_get_message
from scep.message import ReceivedMessage, open_envelope, parse
from scep.reply_envelope import open_reply
from scep.signing import Signer
from tests.scep.messages import CLIENT, RA
from tests.vectors.scep.build import BUILT, ec_key, self_signed, windows_signer
from tests.vectors.scep.capture import HERE

EXPECTED: dict[str, dict[str, Any]] = json.loads((HERE / "built.json").read_text())


def message_in(name: str, content: bytes) -> bytes:
    """Return the message in a file: as it is, or as the ``message`` of a query."""
    if not name.endswith(".query"):
        return content
    return decode_get_message(content.partition(b"&message=")[2])


def found_in(content: bytes) -> dict[str, Any]:
    """Return what is read from a message, in the terms of ``built.json``."""
    received = parse(content)
    opened = open_envelope(received, [RA])
    request = parse_csr(opened.content)
    return {
        "message_type": received.message_type,
        "transaction_id": received.transaction_id,
        "sender_nonce": None if received.sender_nonce is None else received.sender_nonce.hex(),
        "digest": received.digest,
        "cipher": opened.cipher,
        "oaep": opened.key_transport.oaep,
        "signer_serial_number": received.signer.serial_number,
        "signer_is_readable": received.signer.x509 is not None,
        "signer_is_certified_key": received.signer.public_key == request.public_key,
        "signer_key": "RSA" if isinstance(received.signer.public_key, rsa.RSAPublicKey) else "EC",
        "outer_challenge": received.challenge,
        "challenge": request.challenge,
        "emails": list(request.requested.emails),
    }


def answered(received: ReceivedMessage, opened: OpenedEnvelope) -> bytes:
    challenge = parse_csr(opened.content).challenge or received.challenge or ""
    return reply.success(RA, received, opened, reply.recipient(received, opened, challenge), CLIENT.certificate_der)


def opener(name: str) -> Signer:
    """Return whoever signed a message."""
    if name.startswith("windows"):
        return windows_signer()
    if name.startswith("ec"):
        return self_signed(ec_key())
    return CLIENT if name.startswith("renewal") else self_signed(CLIENT.private_key)


def test_every_message_is_described_and_at_hand() -> None:
    assert set(EXPECTED) == set(BUILT)
    assert set(BUILT) == {path.name for pattern in ("*.built", "*.query") for path in HERE.glob(pattern)}


@pytest.mark.parametrize("name", BUILT)
def test_what_clients_send_is_read_opened_and_understood(name: str) -> None:
    assert found_in(message_in(name, (HERE / name).read_bytes())) == EXPECTED[name]


@pytest.mark.parametrize("name", BUILT)
def test_what_is_built_today_says_the_same(name: str) -> None:
    assert found_in(message_in(name, BUILT[name]())) == EXPECTED[name]


@pytest.mark.parametrize("name", BUILT)
def test_the_answer_opens_for_whoever_signed(name: str) -> None:
    received = parse(message_in(name, (HERE / name).read_bytes()))
    answer = parse(answered(received, open_envelope(received, [RA])))
    assert read_certificates(open_reply(answer.content, opener(name))) == (CLIENT.certificate_der,)
    assert (answer.recipient_nonce, answer.transaction_id) == (received.sender_nonce or b"", received.transaction_id)
    assert answer.digest == received.digest


def test_the_files_are_what_their_names_say() -> None:
    ber = (HERE / "ber.built").read_bytes()
    assert ber[:2] == b"\x30\x80", "of indefinite length"
    assert b"\x24\x80\x04" in ber, "an OCTET STRING in segments"
    assert b"\xa0\x80\x04" in ber, "encryptedContent in segments"
    assert b"+" in (HERE / "get-raw-plus.query").read_bytes()
    assert b"%0A" in (HERE / "get-line-breaks.query").read_bytes()
    assert b"%20" in (HERE / "get-spaces.query").read_bytes()
    assert b"=" not in (HERE / "get-url-safe.query").read_bytes().partition(b"&message=")[2]
    # A critical authorityKeyIdentifier, and SHA-1 with RSA.
    windows = windows_signer().certificate_der
    assert bytes.fromhex("0603551d230101ff") in windows
    assert bytes.fromhex("2a864886f70d010105") in windows
