"""What an endpoint answers: which messages it acts on, under which switches, and what it says of its own defects."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import func, select
from sqlmodel import col

from audit.records import AuditEvent
from ca import ra_keys
from ca.authorisation import ProfileName
from foundation import tlv
from foundation.errors import Unavailable
from scep import envelope, message
from scep.algorithms import DIGEST_OIDS, Cipher, Digest, KeyTransport, Suite
from scep.client import build_csr, named, throwaway_signer
from scep.cms import read_certificates
from scep.endpoint import UnknownEndpoint
from scep.endpoint_keys import EndpointKeys
from scep.enrolment import Enroller
from scep.errors import FailInfo, MalformedMessage, UnknownRequest
from scep.key_transport import RsaRecipient
from scep.limits import EndpointLimits
from scep.message import MessageType, PkiStatus, ReceivedMessage
from scep.observation import Ending, Outcome
from scep.records import Challenge
from scep.responder import Responder
from scep.signing import Signer, attribute, sign
from tests.scep.surgery import rebuilt
from tests.scep.world import ACTOR, World

STRONG = Suite(digest=Digest.SHA256, cipher=Cipher.AES128)


class Device:
    """A client that writes whatever the test wants."""

    def __init__(self, world: World, key: rsa.RSAPrivateKey) -> None:
        self.world = world
        self.signer = throwaway_signer(key, named("a device"))
        self.csr = build_csr(key, "a device", world.challenge(world.add_person())).public_bytes(Encoding.DER)

    def request(
        self,
        *,
        suite: Suite = STRONG,
        message_type: str = "19",
        transaction_id: str = "1",
        nonce: bytes | None = bytes(16),
        signer: Signer | None = None,
        ra: Signer | None = None,
        more: Sequence[bytes] = (),
    ) -> bytes:
        """Return a request built by hand."""
        recipient = (ra or self.world.ra).certificate
        public_key = recipient.public_key()
        assert isinstance(public_key, rsa.RSAPublicKey)
        issuer_and_serial = tlv.sequence(recipient.issuer.public_bytes(), tlv.integer(recipient.serial_number))
        sealed = envelope.seal(self.csr, RsaRecipient(public_key, issuer_and_serial, suite.key_transport), suite.cipher)
        attributes = [
            attribute(message.TRANSACTION_ID, tlv.printable_string(transaction_id)),
            attribute(message.MESSAGE_TYPE, tlv.printable_string(message_type)),
            *more,
        ]
        if nonce is not None:
            attributes.append(attribute(message.SENDER_NONCE, tlv.octet_string(nonce)))
        return sign(signer or self.signer, sealed, attributes, suite.digest)

    def send(self, der: bytes) -> ReceivedMessage:
        """Send it; return the reply, its signature verified and its transaction checked."""
        reply = message.parse(self.world.responder.pki_operation("default", der, origin="192.0.2.1"))
        assert reply.message_type == MessageType.CERT_REP
        assert reply.signer.x509 == self.world.ra.certificate
        return reply

    def granted(self, reply: ReceivedMessage) -> x509.Certificate:
        """Return the certificate in a reply."""
        assert reply.pki_status == PkiStatus.SUCCESS, reply.fail_info_text
        (der,) = read_certificates(message.open_envelope(reply, [self.signer]).content)
        return x509.load_der_x509_certificate(der)


@pytest.fixture
def device(world: World, rsa_key: rsa.RSAPrivateKey) -> Device:
    """A device with a live challenge."""
    return Device(world, rsa_key)


def trace(world: World) -> tuple[object, ...]:
    """Return everything a request could leave behind."""
    with world.transactions.reading() as session:
        events = session.execute(select(func.count()).select_from(AuditEvent)).scalar_one()
        redeemed = session.execute(select(func.count(col(Challenge.redeemed_at)))).scalar_one()
    return (*world.counts().values(), events, redeemed)


def test_a_request_by_hand_is_granted(device: Device) -> None:
    """So that the refusals below are for what they say."""
    certificate = device.granted(device.send(device.request()))
    assert certificate.subject.rfc4514_string() == "CN=Alice Smith"


@pytest.mark.parametrize("message_type", ["18", "21", "22", "3", "99", "0", "1", "190", "9999"])
def test_every_other_message_type_is_refused_and_leaves_nothing(device: Device, message_type: str) -> None:
    """CVE-2026-30836: a type that nobody expects must not reach issuance around the challenge."""
    before = trace(device.world)
    reply = device.send(device.request(message_type=message_type))
    assert (reply.pki_status, reply.fail_info) == (PkiStatus.FAILURE, FailInfo.BAD_REQUEST)
    assert reply.fail_info_text == f"message type {int(message_type)} is not answered at this endpoint"
    assert trace(device.world) == before
    device.granted(device.send(device.request()))


def test_a_poll_after_nothing_is_a_bad_certificate_id_whatever_it_holds(device: Device) -> None:
    before = trace(device.world)
    reply = device.send(device.request(message_type="20"))
    assert (reply.pki_status, reply.fail_info) == (PkiStatus.FAILURE, FailInfo.BAD_CERT_ID)
    assert reply.fail_info_text == str(UnknownRequest())
    assert trace(device.world) == before


@pytest.mark.parametrize("message_type", ["-19", "19 ", "0x13", "\uff11\uff19", "", "nineteen", "00019"])
def test_a_message_type_that_is_no_number_is_refused(device: Device, message_type: str) -> None:
    before = trace(device.world)
    value = tlv.utf8_string(message_type)
    good = attribute(message.MESSAGE_TYPE, tlv.printable_string("19"))
    attributes = [attribute(message.TRANSACTION_ID, tlv.printable_string("1")), attribute(message.MESSAGE_TYPE, value)]
    assert attributes[1] != good
    reply = device.send(sign(device.signer, b"x", attributes, Digest.SHA256))
    assert (reply.pki_status, reply.fail_info) == (PkiStatus.FAILURE, FailInfo.BAD_REQUEST)
    assert trace(device.world) == before


SWITCHES: dict[str, dict[str, Any]] = {"strict": {}, "legacy": {"legacy": True}, "museum": {"museum": True}}
ALGORITHMS = [
    (Suite(digest=Digest.SHA256, cipher=Cipher.AES128), {"strict", "legacy", "museum"}),
    (Suite(digest=Digest.SHA384, cipher=Cipher.AES192), {"strict", "legacy", "museum"}),
    (Suite(digest=Digest.SHA512, cipher=Cipher.AES256), {"strict", "legacy", "museum"}),
    (Suite(digest=Digest.SHA1, cipher=Cipher.AES128), {"legacy", "museum"}),
    (Suite(digest=Digest.SHA256, cipher=Cipher.DES3), {"legacy", "museum"}),
    (Suite(digest=Digest.SHA1, cipher=Cipher.DES3), {"legacy", "museum"}),
    (Suite(digest=Digest.SHA256, cipher=Cipher.DES), {"museum"}),
    (Suite(digest=Digest.SHA1, cipher=Cipher.DES), {"museum"}),
]


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize(("suite", "admitted"), ALGORITHMS, ids=[f"{suite.digest}-{suite.cipher}" for suite, _ in ALGORITHMS])
def test_weak_algorithms_are_admitted_by_their_switches_only(
    device: Device, switch: str, suite: Suite, admitted: set[str]
) -> None:
    device.world.configure(**SWITCHES[switch])
    before = trace(device.world)
    reply = device.send(device.request(suite=suite))
    if switch in admitted:
        device.granted(reply)
        assert reply.digest is suite.digest
    else:
        assert (reply.pki_status, reply.fail_info) == (PkiStatus.FAILURE, FailInfo.BAD_ALG)
        assert "is not accepted at this endpoint" in (reply.fail_info_text or "")
        assert trace(device.world) == before


@pytest.mark.parametrize("switch", SWITCHES)
def test_md5_is_refused_whatever_is_switched_on(device: Device, switch: str) -> None:
    device.world.configure(**SWITCHES[switch])
    oids = {digest: tlv.object_identifier(oid) for oid, digest in DIGEST_OIDS.items()}
    md5 = rebuilt(device.request(), oids[Digest.SHA256], oids[Digest.MD5])
    reply = device.send(md5)
    assert (reply.pki_status, reply.fail_info) == (PkiStatus.FAILURE, FailInfo.BAD_ALG)
    assert reply.digest is Digest.SHA256


def test_capabilities_name_weak_algorithms_only_where_they_are_admitted(world: World) -> None:
    strong = {"AES", "POSTPKIOperation", "Renewal", "SCEPStandard", "SHA-256", "SHA-384", "SHA-512"}
    assert set(world.responder.capabilities("default").splitlines()) == strong
    for switch in ("legacy", "museum"):
        world.configure("other", **SWITCHES[switch])
        assert set(world.responder.capabilities("other").splitlines()) == strong | {"DES3", "SHA-1"}
        world.configure("other", legacy=False, museum=False)


@pytest.mark.parametrize(
    "transport",
    [
        KeyTransport(),
        KeyTransport(oaep=Digest.SHA1),
        KeyTransport(oaep=Digest.SHA256, mgf=Digest.SHA256),
        KeyTransport(oaep=Digest.SHA512, mgf=Digest.SHA1, label=b"a label"),
    ],
    ids=["PKCS #1", "OAEP", "OAEP-SHA-256", "OAEP-SHA-512 with label"],
)
def test_the_key_transport_is_mirrored(device: Device, transport: KeyTransport) -> None:
    reply = device.send(device.request(suite=replace(STRONG, key_transport=transport)))
    opened = message.open_envelope(reply, [device.signer])
    assert opened.key_transport == transport
    assert opened.cipher is Cipher.AES128
    device.granted(reply)


@pytest.mark.parametrize("nonce", [bytes(8), bytes(range(16)), bytes(64), b"", None], ids=["8", "16", "64", "empty", "none"])
def test_a_nonce_comes_back_as_it_was_sent(device: Device, nonce: bytes | None) -> None:
    reply = device.send(device.request(nonce=nonce))
    device.granted(reply)
    assert reply.recipient_nonce == (nonce or b"")
    assert reply.sender_nonce is not None
    assert len(reply.sender_nonce) == 16
    assert reply.sender_nonce != nonce


@pytest.mark.parametrize("transaction_id", ["dGhl/IHRy+YQ==", "a b", "0", "f" * 64, "'()+,-./:=?"])
def test_a_transaction_id_comes_back_as_it_was_sent(device: Device, transaction_id: str) -> None:
    reply = device.send(device.request(transaction_id=transaction_id))
    device.granted(reply)
    assert reply.transaction_id == transaction_id


def test_an_envelope_to_the_ra_key_before_is_opened_and_answered_with_that_key(device: Device) -> None:
    """jscep expects the signer that it picked from GetCACert."""
    world = device.world
    old = world.ra
    sent = device.request()
    pair = world.transactions.write(
        lambda session: ra_keys.create_ra_key(session, world.keystore, world.authority, actor=ACTOR, now=world.clock.now())
    )
    world.ra = Signer.of(pair.certificate, pair.private_key)
    responder = Responder(
        world.endpoints, lambda _name: EndpointKeys(world.authority, (world.ra, old)), world.enroller, world.transactions
    )
    reply = message.parse(responder.pki_operation("default", sent, origin="test"))
    assert reply.signer.x509 == old.certificate != pair.certificate
    device.granted(reply)
    assert responder.ca_certificates("default")[1].find(pair.certificate_der) > 0


def raising(error: type[Exception]) -> Callable[..., None]:
    def act(*_: object) -> None:
        raise error

    return act


@pytest.mark.parametrize("case", ["refused", "held off", "a defect of ours"])
def test_whatever_else_is_said_to_an_envelope_to_the_ra_key_before_is_said_with_that_key(
    device: Device, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    world = device.world
    poll, renewal = device.request(message_type="20"), device.request(message_type="17")
    old = world.ra
    pair = world.transactions.write(
        lambda session: ra_keys.create_ra_key(session, world.keystore, world.authority, actor=ACTOR, now=world.clock.now())
    )
    keys = EndpointKeys(world.authority, (Signer.of(pair.certificate, pair.private_key), old))
    world.configure(limits=EndpointLimits(requests_per_minute=1 if case == "held off" else 0))
    if case != "held off":
        monkeypatch.setattr(world.enroller, "propose", raising(UnknownRequest if case == "refused" else TypeError))
    responder = Responder(world.endpoints, lambda _name: keys, world.enroller, world.transactions)
    for sent in (renewal, poll) if case == "held off" else (renewal,):
        reply = message.parse(responder.pki_operation("default", sent, origin="192.0.2.1"))
    assert reply.pki_status == (PkiStatus.PENDING if case == "held off" else PkiStatus.FAILURE)
    assert reply.signer.x509 == old.certificate


def test_a_defect_in_reading_envelopes_is_answered_too(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = device.request()
    monkeypatch.setattr(envelope, "read_envelope", raising(TypeError))
    assert "log reference" in (device.send(sent).fail_info_text or "")


def test_nothing_is_told_of_an_envelope_before_its_request_verifies(
    device: Device, other_rsa_key: rsa.RSAPrivateKey, ec_key: ec.EllipticCurvePrivateKey
) -> None:
    """Anybody may change bits of somebody else's envelope and sign it: an answer of its own would be a CBC padding oracle."""
    request = device.csr
    ra = device.world.ra
    elliptic = throwaway_signer(ec_key, named("a device"))
    undecryptable = {"ra": throwaway_signer(other_rsa_key, ra.certificate.subject)}
    answers = []
    for content, options in (
        (request, undecryptable),
        (request[:-1] + bytes([request[-1] ^ 1]), {"ra": ra}),
        (b"\x30\x03abc", {"ra": ra}),
        (b"\x30\x03abc", {"ra": ra, "signer": elliptic}),
    ):
        device.csr = content
        answers.append(device.send(device.request(**options)))  # type: ignore[arg-type] # of several types
    device.csr = b"\x30\x03abc"
    answers.append(device.send(device.request(suite=replace(STRONG, cipher=Cipher.DES3))))
    (only,) = {(reply.pki_status, reply.fail_info, reply.fail_info_text) for reply in answers}
    assert only[:2] == (PkiStatus.FAILURE, FailInfo.BAD_MESSAGE_CHECK)


def test_a_defect_gives_a_log_reference_and_no_secret(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> bytes:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(Enroller, "propose", fail)
    with structlog.testing.capture_logs() as logged:
        answer = device.world.responder.pki_operation("default", device.request(), origin="test")
    assert b"swordfish" not in answer
    reply = message.parse(answer)
    assert (reply.pki_status, reply.fail_info) == (PkiStatus.FAILURE, FailInfo.BAD_REQUEST)
    (event,) = [event for event in logged if event["log_level"] == "error"]
    assert reply.fail_info_text == f"the request failed here; log reference {event['reference']}"
    assert len(event["reference"]) >= 8
    monkeypatch.undo()
    # The challenge is not spent by a defect of ours.
    device.granted(device.send(device.request()))


def test_a_defect_elsewhere_is_no_other(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """In reading the request, too: anything between parsing and replying."""

    def fail(_der: bytes) -> object:
        raise KeyError("swordfish")

    monkeypatch.setattr("scep.operation.parse_csr", fail)
    reply = device.send(device.request())
    assert "log reference" in (reply.fail_info_text or "")
    assert "swordfish" not in (reply.fail_info_text or "")


def test_a_store_that_is_down_is_no_refusal(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A FAILURE would be final to certmonger; the transport makes this a 503, after which clients come again."""

    def fail(*_arguments: object, **_options: object) -> bytes:
        raise Unavailable("the database is down")

    request = device.request()
    before = trace(device.world)
    monkeypatch.setattr(Enroller, "propose", fail)
    with pytest.raises(Unavailable, match=r"^the database is down$"):
        device.world.responder.pki_operation("default", request, origin="test")
    monkeypatch.undo()
    assert trace(device.world) == before
    device.granted(device.send(request))


def test_a_commit_that_fails_is_no_refusal_and_leaves_no_record_of_one(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise Unavailable("the disk is full")

    request = device.request()
    before = trace(device.world)
    monkeypatch.setattr("scep.register.keep", fail)
    with pytest.raises(Unavailable, match=r"^the disk is full$"):
        device.world.responder.pki_operation("default", request, origin="test")
    monkeypatch.undo()
    assert trace(device.world) == before
    device.granted(device.send(request))


class Notes:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.endings: list[tuple[str, Ending]] = []
        self.seconds: list[float] = []

    def requested(self, endpoint: str, operation: str) -> None:
        """Note an operation."""
        self.requests.append((endpoint, operation))

    def ended(self, endpoint: str, ending: Ending, seconds: float) -> None:
        """Note an ending."""
        self.endings.append((endpoint, ending))
        self.seconds.append(seconds)


def test_an_observer_is_told_of_every_operation_and_its_end(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Notes()
    world = device.world
    observed = Responder(
        {"default": world.endpoints["default"]},
        world.keys,
        world.enroller,
        world.transactions,
        observer=notes,
    )
    observed.capabilities("default")
    observed.ca_certificates("default")
    with pytest.raises(UnknownEndpoint):
        observed.capabilities("elsewhere")
    granted = device.request()

    def send(der: bytes) -> None:
        observed.pki_operation("default", der, origin="test")

    send(granted)
    send(granted)
    send(device.request(transaction_id="2"))
    send(device.request(suite=Suite(digest=Digest.SHA1, cipher=Cipher.DES)))
    with pytest.raises(MalformedMessage):
        send(b"no message")
    with monkeypatch.context() as patch:
        patch.setattr(Enroller, "propose", lambda *_: (_ for _ in ()).throw(Unavailable("down")))
        with pytest.raises(Unavailable):
            send(granted)
        patch.setattr(Enroller, "propose", lambda *_: (_ for _ in ()).throw(KeyError("a defect")))
        send(granted)
    assert notes.requests == [("default", "GetCACaps"), ("default", "GetCACert"), *[("default", "PKIOperation")] * 7]
    assert [ending for _, ending in notes.endings] == [
        Ending(Outcome.ISSUED, profile=ProfileName("identity")),
        Ending(Outcome.REPLAYED, profile=ProfileName("identity")),
        Ending(Outcome.REPLAYED, profile=ProfileName("identity")),
        Ending(Outcome.REFUSED, fail_info=FailInfo.BAD_ALG),
        Ending(Outcome.REFUSED, fail_info=FailInfo.BAD_REQUEST),
        Ending(Outcome.UNAVAILABLE),
        Ending(Outcome.FAILED),
    ]
    assert all(0 < seconds < 60 for seconds in notes.seconds)


def test_a_forged_proof_of_possession_fails_the_message_check(device: Device) -> None:
    device.csr = device.csr[:-1] + bytes([device.csr[-1] ^ 1])
    reply = device.send(device.request())
    assert (reply.pki_status, reply.fail_info) == (PkiStatus.FAILURE, FailInfo.BAD_MESSAGE_CHECK)


@pytest.mark.parametrize("content", [b"", b"\x30\x00", b"not a request"])
def test_an_envelope_without_a_request_is_refused(device: Device, content: bytes) -> None:
    device.csr = content
    reply = device.send(device.request())
    assert reply.pki_status == PkiStatus.FAILURE
    assert trace(device.world)[:3] == (0, 0, 0)


def test_a_challenge_in_the_signed_attributes_counts_where_the_request_has_none(
    device: Device, rsa_key: rsa.RSAPrivateKey
) -> None:
    """Seen of macOS (facts/scep.md section 6)."""
    challenge = device.world.challenge(device.world.add_person("bob@example.com", "bob@example.com", display_name="Bob"))
    device.csr = build_csr(rsa_key, "x").public_bytes(Encoding.DER)
    more = [attribute(message.CHALLENGE_PASSWORD, tlv.printable_string(challenge))]
    certificate = device.granted(device.send(device.request(more=more)))
    assert certificate.subject.rfc4514_string() == "CN=Bob"


def test_a_fresh_challenge_in_the_signed_attributes_gets_a_new_certificate_for_the_old_request(
    device: Device, rsa_key: rsa.RSAPrivateKey
) -> None:
    """A client that keeps its key makes the same request, byte for byte, a year later."""
    alice = device.world.add_person("al@example.com", "al@example.com")
    device.csr = build_csr(rsa_key, "x").public_bytes(Encoding.DER)

    def enrolled() -> x509.Certificate:
        more = [attribute(message.CHALLENGE_PASSWORD, tlv.printable_string(device.world.challenge(alice)))]
        sent = device.request(more=more)
        first = device.granted(device.send(sent))
        assert device.granted(device.send(sent)) == first
        return first

    assert enrolled() != enrolled()
    assert device.world.counts()["certificates"] == 2


def test_the_issuer_goes_along_where_the_endpoint_says_so(device: Device) -> None:
    device.world.configure(reply_chain=True)
    reply = device.send(device.request())
    first, second = read_certificates(message.open_envelope(reply, [device.signer]).content)
    assert x509.load_der_x509_certificate(first).subject.rfc4514_string() == "CN=Alice Smith"
    assert second == device.world.authority.certificate_der


def test_certificates_come_in_the_order_that_clients_rely_on(world: World) -> None:
    content_type, body = world.responder.ca_certificates("default")
    assert content_type == "application/x-x509-ca-ra-cert"
    assert list(read_certificates(body)) == [world.ra.certificate_der, world.authority.certificate_der, *world.authority.chain]


@pytest.mark.parametrize("der", [b"", b"x", b"\x30\x00", bytes(1000)])
def test_without_a_transaction_there_is_no_reply_to_sign(world: World, der: bytes) -> None:
    with pytest.raises(MalformedMessage):
        world.responder.pki_operation("default", der, origin="test")


def test_a_broken_signature_is_a_signed_refusal(device: Device) -> None:
    der = device.request()
    reply = device.send(der[:-1] + bytes([der[-1] ^ 1]))
    assert (reply.pki_status, reply.fail_info) == (PkiStatus.FAILURE, FailInfo.BAD_MESSAGE_CHECK)
    assert reply.transaction_id == "1"


CALLS: list[Callable[[Responder], object]] = [
    lambda responder: responder.capabilities("nowhere"),
    lambda responder: responder.ca_certificates("nowhere"),
    lambda responder: responder.pki_operation("nowhere", b"", origin="test"),
]


@pytest.mark.parametrize("call", CALLS, ids=["GetCACaps", "GetCACert", "PKIOperation"])
def test_there_is_no_endpoint_of_another_name(world: World, call: Callable[[Responder], object]) -> None:
    with pytest.raises(UnknownEndpoint):
        call(world.responder)
