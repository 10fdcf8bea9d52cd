"""Messages that are large, deep, weak or old: each gets an answer soon, and none gets more than a sound one would."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from foundation import tlv
from scep import message
from scep.algorithms import Cipher, Digest, Suite
from scep.decoding import MAX_SIZE
from scep.errors import FailInfo, ScepRefusal
from scep.message import PkiStatus
from scep.signing import attribute, sign
from tests.foundation.ber_encoding import to_ber
from tests.scep.peers import STRONG, Peer, certificate_request, trace
from tests.scep.surgery import rebuilt
from tests.scep.world import World

OIDS = {
    Digest.SHA256: tlv.object_identifier("2.16.840.1.101.3.4.2.1"),
    Digest.MD5: tlv.object_identifier("1.2.840.113549.2.5"),
}
LEGACY: dict[str, dict[str, Any]] = {"strict": {}, "legacy": {"legacy": True}, "museum": {"museum": True}}


@pytest.fixture
def alice(world: World, rsa_key: rsa.RSAPrivateKey) -> Peer:
    """Somebody with a challenge to spend."""
    return Peer.stranger(world, rsa_key)


@pytest.fixture
def request_der(world: World, alice: Peer) -> bytes:
    """Alice's certificate request."""
    return certificate_request(alice.key, world.challenge(world.add_person()))


def nested(depth: int, tag: int = 0x30) -> bytes:
    return bytes((tag, 0x80)) * depth + b"\0\0" * depth


def definite(depth: int) -> bytes:
    encoded = b""
    for _ in range(depth):
        encoded = tlv.sequence(encoded)
    return encoded


Flood = Callable[[Peer, bytes], bytes]
FLOODS: dict[str, Flood] = {
    "nesting without end": lambda _peer, _request: nested(MAX_SIZE // 4),
    "nesting with lengths": lambda _peer, _request: definite(8000),
    "segments in segments": lambda _peer, _request: nested(MAX_SIZE // 4, 0x24),
    "nesting in the envelope": lambda peer, _request: peer.signed(nested(15000)),
    "nesting in an attribute": lambda peer, request: peer.signed(
        peer.sealed(request), more=[attribute("1.2.3.4", nested(10000))]
    ),
    "nesting in the request": lambda peer, _request: peer.signed(peer.sealed(nested(15000))),
    "thousands of attributes": lambda peer, request: peer.signed(
        peer.sealed(request), more=[attribute(f"1.2.3.{number}", tlv.null()) for number in range(4000)]
    ),
    "an endless OID": lambda peer, request: peer.signed(
        peer.sealed(request), more=[tlv.sequence(tlv.tlv(6, b"\x81" * 60000 + b"\x01"), tlv.set_of(tlv.null()))]
    ),
    "thousands of names": lambda peer, _request: peer.signed(
        peer.sealed(
            certificate_request(
                peer.key,
                more=[
                    (
                        "1.2.840.113549.1.9.14",
                        tlv.sequence(
                            tlv.sequence(
                                tlv.object_identifier("2.5.29.17"),
                                tlv.octet_string(tlv.sequence(*[tlv.tlv(0x81, b"a@example.com")] * 3000)),
                            )
                        ),
                    )
                ],
            )
        )
    ),
    "a challenge without end": lambda peer, _request: peer.signed(peer.sealed(certificate_request(peer.key, "x" * 40000))),
    "segments of one byte": lambda peer, request: peer.signed(to_ber(peer.sealed(request), segment=1, implicit=True)),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_what_is_large_or_deep_is_answered_soon_and_leaves_nothing(alice: Peer, request_der: bytes, flood: Flood) -> None:
    """Soon in processor time, which no other load on the machine can spend; and without a defect of ours."""
    der = flood(alice, request_der)
    before = trace(alice.world)
    began = time.process_time()
    try:
        answer = alice.send(der)
    except ScepRefusal:
        pass
    else:
        assert "log reference" not in (answer.fail_info_text or "")
        if answer.pki_status == PkiStatus.SUCCESS:
            # Odd and harmless: the request in it is Alice's.
            alice.granted(answer)
            before = trace(alice.world)
    assert time.process_time() - began < 2
    assert trace(alice.world)[:3] == before[:3]


@pytest.mark.parametrize("size", [17, 64])
def test_a_nonce_of_any_length_up_to_64_bytes_is_returned(alice: Peer, request_der: bytes, size: int) -> None:
    assert alice.ask(request_der, nonce=bytes(range(size))).recipient_nonce == bytes(range(size))


def test_a_longer_nonce_is_refused_without_being_repeated(alice: Peer, request_der: bytes) -> None:
    sent = alice.signed(alice.sealed(request_der), nonce=b"n" * 65)
    with pytest.raises(ScepRefusal) as caught:
        alice.post(sent)
    assert caught.value.exchange is None
    assert alice.world.counts()["certificates"] == 0


def test_a_nonce_is_never_repeated_as_the_authoritys_own(alice: Peer, request_der: bytes) -> None:
    """step-ca was seen to send the client's nonce back as its own."""
    answers = [alice.ask(request_der, nonce=bytes(16)) for _ in range(3)]
    assert len({answer.sender_nonce for answer in answers} | {bytes(16)}) == 4


# --- downgrades ---


@pytest.mark.parametrize("switches", LEGACY.values(), ids=LEGACY)
def test_an_answer_is_never_weaker_than_its_endpoint_allows(alice: Peer, request_der: bytes, switches: dict[str, Any]) -> None:
    """A refusal is signed, too: nobody is to get the RA's signature under a digest that its endpoint does not take."""
    alice.world.configure(**switches)
    sealed = alice.sealed(request_der)
    digest = Digest.SHA1 if switches else Digest.SHA256
    refused = alice.send(alice.signed(sealed, message_type=99, digest=Digest.SHA1))
    assert (refused.pki_status, refused.digest) == (PkiStatus.FAILURE, digest)
    der = alice.signed(sealed, digest=Digest.SHA1)
    broken = alice.send(der[:-1] + bytes((der[-1] ^ 1,)))
    assert (broken.fail_info, broken.digest) == (FailInfo.BAD_MESSAGE_CHECK, digest)
    weak = alice.send(alice.signed(sealed, digest=Digest.SHA1))
    assert weak.digest is digest
    assert weak.pki_status == (PkiStatus.SUCCESS if switches else PkiStatus.FAILURE)


@pytest.mark.parametrize("switches", LEGACY.values(), ids=LEGACY)
def test_single_des_is_never_answered_with(alice: Peer, request_der: bytes, switches: dict[str, Any]) -> None:
    alice.world.configure(**switches)
    answer = alice.ask(request_der, suite=Suite(digest=Digest.SHA256, cipher=Cipher.DES))
    if not switches.get("museum"):
        assert (answer.pki_status, answer.fail_info) == (PkiStatus.FAILURE, FailInfo.BAD_ALG)
        return
    assert message.open_envelope(answer, [alice.signer]).cipher is Cipher.DES3


@pytest.mark.parametrize("switches", LEGACY.values(), ids=LEGACY)
def test_md5_is_neither_taken_nor_answered_with(alice: Peer, request_der: bytes, switches: dict[str, Any]) -> None:
    alice.world.configure(**switches)
    answer = alice.send(rebuilt(alice.signed(alice.sealed(request_der)), OIDS[Digest.SHA256], OIDS[Digest.MD5]))
    assert (answer.pki_status, answer.fail_info, answer.digest) == (PkiStatus.FAILURE, FailInfo.BAD_ALG, Digest.SHA256)


def test_a_weak_message_is_refused_before_its_envelope_is_opened(
    alice: Peer, request_der: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object) -> object:
        raise AssertionError("an envelope was opened")

    sent = alice.signed(alice.sealed(request_der, replace(STRONG, digest=Digest.SHA1)), digest=Digest.SHA1)
    monkeypatch.setattr(message, "open_envelope", opened)
    assert alice.send(sent).fail_info == FailInfo.BAD_ALG


def test_a_signature_without_attributes_is_none(alice: Peer, request_der: bytes) -> None:
    """Everything that SCEP adds to CMS stands in the signed attributes."""
    der = sign(alice.signer, alice.sealed(request_der), [], Digest.SHA256)
    with pytest.raises(ScepRefusal):
        alice.post(der)
