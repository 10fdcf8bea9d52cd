"""No oracle: nobody who has somebody else's envelope learns what is in it by sending variations of it.

Anybody may sign anything: the attacker here has copied an envelope and varies it, under a signature and a message type of his
own. CBC lets him choose the plaintext of a block that he knows, and RSA lets him multiply. So every answer must be one and the
same in all that is not random: status, failInfo, words, attributes, size.
"""

import secrets
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher as CipherContext
from cryptography.hazmat.primitives.ciphers import modes
from cryptography.hazmat.primitives.padding import PKCS7

from foundation import tlv
from scep import cms
from scep.algorithms import Cipher, Digest, KeyTransport, Suite
from scep.client import named
from scep.errors import EnvelopeUndecryptable, FailInfo, UnknownRequest
from scep.message import MESSAGE_TYPE, RECIPIENT_NONCE, SENDER_NONCE, TRANSACTION_ID, MessageType, PkiStatus
from scep.queries import IssuerAndSerial, IssuerAndSubject, write_issuer_and_serial, write_issuer_and_subject
from signetry.database import Database
from tests.clocks import ManualClock
from tests.foundation.ber_encoding import to_ber
from tests.scep.peers import STRONG, Peer, certificate_request, said, trace
from tests.scep.surgery import rebuilt, walk
from tests.scep.test_retrieval import AskedWorld
from tests.scep.world import World

OAEP = Suite(digest=Digest.SHA256, cipher=Cipher.AES128, key_transport=KeyTransport(oaep=Digest.SHA256, mgf=Digest.SHA256))
CONTENT_KEY = b"k" * 16
IV = b"i" * 16


@pytest.fixture
def world(sqlite_store: Database, clock: ManualClock) -> World:
    """An endpoint that answers GetCert and GetCRL, too."""
    return AskedWorld(sqlite_store, clock)


@pytest.fixture
def attacker(world: World, other_rsa_key: rsa.RSAPrivateKey) -> Peer:
    """Somebody who signs with a key made for the occasion."""
    return Peer.stranger(world, other_rsa_key)


@pytest.fixture
def request_der(world: World, rsa_key: rsa.RSAPrivateKey) -> bytes:
    """Alice's certificate request, challenge and all."""
    return certificate_request(rsa_key, world.challenge(world.add_person()))


# --- envelopes that open to nothing ---


def encrypted_key(sealed: bytes) -> bytes:
    return next(part for part in walk(sealed) if part[0] == tlv.OCTET_STRING and len(part) > 200)


def iv(sealed: bytes) -> bytes:
    return next(part for part in walk(sealed) if part[0] == tlv.OCTET_STRING and len(part) == 18)


def encrypted_content(sealed: bytes) -> bytes:
    return next(part for part in walk(sealed) if part[0] == 0x80 and len(part) >= 18)


def with_key(sealed: bytes, encrypted: bytes) -> bytes:
    return rebuilt(sealed, encrypted_key(sealed), tlv.octet_string(encrypted))


def with_content(sealed: bytes, encrypted: bytes) -> bytes:
    return rebuilt(sealed, encrypted_content(sealed), tlv.tlv(0x80, encrypted))


def wrapped(attacker: Peer, key: bytes, suite: Suite) -> bytes:
    public_key = attacker.world.ra.certificate.public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)
    return public_key.encrypt(key, suite.key_transport.padding())


def holding(attacker: Peer, sealed: bytes, padded: bytes, suite: Suite) -> bytes:
    """Return the envelope with a good key and with ``padded`` as what decrypts."""
    encryptor = CipherContext(Cipher.AES128.keyed(CONTENT_KEY), modes.CBC(IV)).encryptor()
    encrypted = encryptor.update(padded) + encryptor.finalize()
    keyed = rebuilt(with_key(sealed, wrapped(attacker, CONTENT_KEY, suite)), iv(sealed), tlv.octet_string(IV))
    return with_content(keyed, encrypted)


def padded(content: bytes) -> bytes:
    padder = PKCS7(128).padder()
    return padder.update(content) + padder.finalize()


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes((data[position] ^ 1,)) + data[position + 1 :]


Variation = Callable[[Peer, bytes, bytes, Suite], bytes]
"""Of an envelope (third) of a request (second)."""

VARIATIONS: dict[str, Variation] = {
    "a wrong key": lambda peer, _request, sealed, suite: with_key(sealed, wrapped(peer, secrets.token_bytes(16), suite)),
    "a key a byte short": lambda peer, _request, sealed, suite: with_key(sealed, wrapped(peer, b"k" * 15, suite)),
    "a key a byte long": lambda peer, _request, sealed, suite: with_key(sealed, wrapped(peer, b"k" * 17, suite)),
    "no key": lambda peer, _request, sealed, suite: with_key(sealed, wrapped(peer, b"", suite)),
    "wrong padding of the key": lambda _peer, _request, sealed, _suite: with_key(sealed, b"\x01" * 256),
    "the other key transport": lambda peer, _request, sealed, suite: with_key(
        sealed, wrapped(peer, CONTENT_KEY, OAEP if suite is STRONG else STRONG)
    ),
    "a number above the modulus": lambda _peer, _request, sealed, _suite: with_key(sealed, b"\xff" * 256),
    "zero": lambda _peer, _request, sealed, _suite: with_key(sealed, bytes(256)),
    "an encrypted key of seven bytes": lambda _peer, _request, sealed, _suite: with_key(sealed, b"\x01" * 7),
    "an encrypted key of a byte too many": lambda _peer, _request, sealed, _suite: with_key(
        sealed, encrypted_key(sealed)[4:] + b"\x01"
    ),
    "wrong padding of the content": lambda peer, _request, sealed, suite: holding(peer, sealed, b"x" * 31 + b"\0", suite),
    "padding longer than a block": lambda peer, _request, sealed, suite: holding(peer, sealed, b"\x30\x0f" + b"\x11" * 30, suite),
    "right padding and no sequence": lambda peer, _request, sealed, suite: holding(peer, sealed, padded(b"no sequence"), suite),
    "right padding and nothing": lambda peer, _request, sealed, suite: holding(peer, sealed, padded(b""), suite),
    "a sequence cut short": lambda peer, request, sealed, suite: holding(peer, sealed, padded(request[:-1]), suite),
    "bytes after it": lambda peer, request, sealed, suite: holding(peer, sealed, padded(request + b"\0"), suite),
    "an empty sequence": lambda peer, _request, sealed, suite: holding(peer, sealed, padded(b"\x30\x00"), suite),
    "a sequence of garbage": lambda peer, _request, sealed, suite: holding(peer, sealed, padded(b"\x30\x04abcd"), suite),
    "a sequence of two": lambda peer, _request, sealed, suite: holding(peer, sealed, padded(b"\x30\x04\x30\x00\x30\x00"), suite),
    "a request whose signature is wrong": lambda peer, request, sealed, suite: holding(
        peer, sealed, padded(flipped(request, len(request) - 1)), suite
    ),
    "a request whose challenge is wrong": lambda peer, request, sealed, suite: holding(
        peer, sealed, padded(flipped(request, request.index(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07") + 20)), suite
    ),
    "a request whose key is wrong": lambda peer, request, sealed, suite: holding(
        peer, sealed, padded(flipped(request, request.index(b"\x03\x82\x01\x0f") + 60)), suite
    ),
    "a request in BER, broken": lambda peer, request, sealed, suite: holding(
        peer, sealed, padded(to_ber(flipped(request, len(request) - 1))), suite
    ),
    "a block of the content changed": lambda _peer, _request, sealed, _suite: with_content(
        sealed, flipped(encrypted_content(sealed)[4:], 100)
    ),
    "the last block changed": lambda _peer, _request, sealed, _suite: with_content(
        sealed, flipped(encrypted_content(sealed)[4:], len(encrypted_content(sealed)) - 8)
    ),
    "the last block missing": lambda _peer, _request, sealed, _suite: with_content(sealed, encrypted_content(sealed)[4:-16]),
    "one block": lambda _peer, _request, sealed, _suite: with_content(sealed, encrypted_content(sealed)[4:20]),
    "half a block": lambda _peer, _request, sealed, _suite: with_content(sealed, encrypted_content(sealed)[4:-8]),
    "another IV": lambda _peer, _request, sealed, _suite: rebuilt(sealed, iv(sealed), tlv.octet_string(bytes(16))),
    "an IV of another length": lambda _peer, _request, sealed, _suite: rebuilt(sealed, iv(sealed), tlv.octet_string(bytes(8))),
}

VARIABLE = frozenset({SENDER_NONCE, cms.MESSAGE_DIGEST})


def shape(answer: bytes) -> tuple[object, ...]:
    """Return all of an answer that could differ from another's: everything but nonce and signature, and how long all of it is."""
    signed = cms.read_signed_data(answer)
    attributes = {
        oid: [bytes(value.data) for value in values] for oid, values in signed.attributes.items() if oid not in VARIABLE
    }
    return (
        len(answer),
        len(signed.content),
        signed.digest_oid,
        signed.signature_oid,
        signed.certificates,
        tuple(sorted((oid, tuple(values)) for oid, values in attributes.items())),
    )


@pytest.mark.parametrize("suite", [STRONG, OAEP], ids=["PKCS #1 v1.5", "OAEP"])
@pytest.mark.parametrize(
    "message_type", [MessageType.PKCS_REQ, MessageType.RENEWAL_REQ, MessageType.GET_CERT, MessageType.GET_CRL]
)
def test_every_envelope_that_does_not_open_gets_the_same_answer(
    attacker: Peer, request_der: bytes, message_type: MessageType, suite: Suite
) -> None:
    sealed = attacker.sealed(request_der, suite)
    before = trace(attacker.world)
    shapes: dict[tuple[object, ...], list[str]] = {}
    for name, variation in VARIATIONS.items():
        varied = variation(attacker, request_der, sealed, suite)
        assert varied != sealed, name
        answer = attacker.post(attacker.signed(varied, message_type=message_type))
        shapes.setdefault(shape(answer), []).append(name)
    assert len(shapes) == 1, list(shapes.values())
    assert trace(attacker.world) == before
    # What they all say, and that the one they were made of opens.
    said_of_all = said(attacker.send(attacker.signed(VARIATIONS["a wrong key"](attacker, request_der, sealed, suite))))
    assert said_of_all == (PkiStatus.FAILURE, FailInfo.BAD_MESSAGE_CHECK, str(EnvelopeUndecryptable()))
    assert attacker.send(attacker.signed(sealed)).pki_status == PkiStatus.SUCCESS


@pytest.mark.parametrize("suite", [STRONG, OAEP], ids=["PKCS #1 v1.5", "OAEP"])
def test_a_poll_says_the_same_whether_its_envelope_opens_or_not(attacker: Peer, request_der: bytes, suite: Suite) -> None:
    """A poll needs no signature of the request's key, so whether it opens would tell of each guess at a byte."""
    poll = write_issuer_and_subject(IssuerAndSubject(attacker.world.authority.subject_der, b"\x30\x00"))
    envelopes = {"the request itself": attacker.sealed(request_der, suite), "a good poll": attacker.sealed(poll, suite)}
    sealed = envelopes["the request itself"]
    visible = ("half a block", "an IV of another length")
    envelopes |= {
        name: varied(attacker, request_der, sealed, suite) for name, varied in VARIATIONS.items() if name not in visible
    }
    answers = {
        name: attacker.post(attacker.signed(varied, message_type=MessageType.CERT_POLL)) for name, varied in envelopes.items()
    }
    assert len({shape(answer) for answer in answers.values()}) == 1
    assert said(attacker.send(attacker.signed(sealed, message_type=MessageType.CERT_POLL))) == (
        PkiStatus.FAILURE,
        FailInfo.BAD_CERT_ID,
        str(UnknownRequest()),
    )


@pytest.mark.parametrize("message_type", [MessageType.CERT_POLL, MessageType.GET_CERT, MessageType.GET_CRL])
def test_a_byte_of_a_copied_envelope_cannot_be_guessed(attacker: Peer, request_der: bytes, message_type: MessageType) -> None:
    """The padding oracle of CBC, step by step: 256 guesses at the last byte of a block, of which one opens.

    A block that the attacker knows (a request begins in a known way) is made the head of two SEQUENCEs, of which the second
    holds what decrypts to garbage; the block he is after comes last. Were head and padding all that is asked of a question, the
    right guess would be answered in another way than the 255 others.
    """
    sealed = attacker.sealed(request_der)
    first_iv, blocks = iv(sealed)[2:], encrypted_content(sealed)[4:]
    known, wanted = request_der[:16], blocks[64:80]
    head = b"\x30\x2d\x30\x00\x30\x29" + bytes(10)
    forged_iv = bytes(a ^ b ^ c for a, b, c in zip(first_iv, known, head, strict=True))
    answers = set()
    plain, before_wanted = request_der[64:80], blocks[48:64]
    right = plain[15] ^ before_wanted[15] ^ 1
    for guess in (right, right ^ 1, right ^ 0x80):
        filler = bytes(15) + bytes((guess,))
        content = blocks[:16] + filler + wanted
        forged = rebuilt(with_content(sealed, content), iv(sealed), tlv.octet_string(forged_iv))
        answers.add(shape(attacker.post(attacker.signed(forged, message_type=message_type))))
    assert len(answers) == 1


@pytest.mark.parametrize("message_type", [MessageType.GET_CERT, MessageType.GET_CRL])
def test_a_question_that_names_nobody_of_ours_is_what_did_not_open(attacker: Peer, message_type: MessageType) -> None:
    foreign = write_issuer_and_serial(IssuerAndSerial(named("somebody else").public_bytes(), 5))
    sealed = attacker.sealed(foreign)
    answers = [
        attacker.post(attacker.signed(each, message_type=message_type))
        for each in (sealed, with_key(sealed, wrapped(attacker, secrets.token_bytes(16), STRONG)), with_key(sealed, bytes(256)))
    ]
    assert len({shape(answer) for answer in answers}) == 1


def test_a_refusal_repeats_nothing_of_the_request_but_what_its_sender_said_in_the_open(
    attacker: Peer, world: World, rsa_key: rsa.RSAPrivateKey
) -> None:
    """An attacker's copy of a spent request tells neither challenge nor names."""
    request = certificate_request(rsa_key, "SWORDFISH-NOBODYS")
    answer = attacker.post(attacker.signed(attacker.sealed(request)))
    assert b"SWORDFISH" not in answer
    expected = {TRANSACTION_ID, MESSAGE_TYPE, SENDER_NONCE, RECIPIENT_NONCE}
    assert expected < set(cms.read_signed_data(answer).attributes)
    assert world.counts()["certificates"] == 0
