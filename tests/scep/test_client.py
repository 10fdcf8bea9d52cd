"""Our client: what it gets from a server it can believe, and what it does not believe."""

import hashlib
from collections.abc import Callable
from datetime import timedelta

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ca import ra_keys
from ca.authorisation import SubjectNames
from ca.issuance import build
from ca.profiles import IDENTITY
from foundation import tlv
from foundation.errors import BadRequest
from scep import client, message, reply
from scep.algorithms import Cipher, Digest, Suite
from scep.ca_certificates import CaBag
from scep.client import MAX_REPLY_BYTES, Identity, ScepClient, build_csr
from scep.cms import read_certificates
from scep.envelope import OpenedEnvelope
from scep.errors import EnrolmentPending, EnrolmentRefused, FailInfo, ServerMisbehaved, ServerUnreachable
from scep.message import ReceivedMessage
from scep.signing import Signer, attribute, certificates_only, sign
from tests.clocks import ManualClock
from tests.scep.messages import success
from tests.scep.world import ACTOR, World

URL = "http://scep.test/scep/default"
Answer = Callable[[ReceivedMessage, OpenedEnvelope], bytes]


def served(answer: Callable[[httpx2.Request], httpx2.Response], fingerprint: str = "") -> ScepClient:
    return ScepClient(URL, transport=httpx2.MockTransport(answer), fingerprint=fingerprint)


def answering(body: bytes) -> Callable[[httpx2.Request], httpx2.Response]:
    return lambda _request: httpx2.Response(200, content=body)


def about_the_server(world: World, request: httpx2.Request) -> httpx2.Response | None:
    """Return the answer to GetCACaps and GetCACert."""
    match request.url.params["operation"]:
        case "GetCACaps":
            return httpx2.Response(200, text=world.responder.capabilities("default"))
        case "GetCACert":
            return httpx2.Response(200, content=world.responder.ca_certificates("default")[1])
        case _:
            return None


def lying(world: World, answer: Answer) -> ScepClient:
    """Return a client of a server that answers PKIOperation with what ``answer`` makes of it."""

    def serve(request: httpx2.Request) -> httpx2.Response:
        if (told := about_the_server(world, request)) is not None:
            return told
        received = message.parse(request.content)
        return httpx2.Response(200, content=answer(received, message.open_envelope(received, [world.ra])))

    return served(serve)


def outcome(ours: ScepClient, key: rsa.RSAPrivateKey) -> Identity:
    with ours:
        return ours.enrol(ours.ca_certificates(), key, build_csr(key, "a device", "secret"))


def certified(world: World, key: rsa.RSAPrivateKey) -> bytes:
    names = SubjectNames(display_name="Alice", upn="alice@example.com", emails=("alice@example.com",))
    return build(world.authority, IDENTITY, names, key.public_key(), now=world.clock.now()).der


def test_capabilities_are_words(world: World) -> None:
    with world.client() as ours:
        assert ours.capabilities() >= {"AES", "SHA-256", "POSTPKIOperation", "Renewal", "SCEPStandard"}


def test_certificates_are_told_apart_by_what_they_say(world: World) -> None:
    with world.client() as ours:
        bag = ours.ca_certificates()
    assert (bag.ra, bag.issuer) == (world.ra.certificate, world.authority.certificate)
    assert bag.fingerprint == hashlib.sha256(world.authority.certificate_der).hexdigest()
    ordered = bag.certificates
    assert len(ordered) == 3
    for order in (ordered[::-1], ordered[1:] + ordered[:1]):
        body = certificates_only(certificate.public_bytes(Encoding.DER) for certificate in order)
        with served(answering(body)) as ours:
            again = ours.ca_certificates()
            assert (again.ra, again.issuer, again.certificates) == (bag.ra, bag.issuer, order)


def self_signed(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, clock: ManualClock) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a CA alone")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7)
    builder = builder.not_valid_before(clock.now()).not_valid_after(clock.now() + timedelta(days=1))
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())


def test_a_ca_may_be_its_own_ra(rsa_key: rsa.RSAPrivateKey, clock: ManualClock) -> None:
    alone = self_signed(rsa_key, clock)
    for body in (alone.public_bytes(Encoding.DER), certificates_only([alone.public_bytes(Encoding.DER)])):
        with served(answering(body)) as ours:
            assert ours.ca_certificates() == CaBag(alone, alone, (alone,))


def test_a_single_ca_enrols(rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey, clock: ManualClock) -> None:
    alone = self_signed(rsa_key, clock)
    signer = Signer.of(alone, rsa_key)
    builder = x509.CertificateBuilder(alone.subject, alone.subject, other_rsa_key.public_key(), 8)
    issued = builder.not_valid_before(clock.now()).not_valid_after(clock.now() + timedelta(days=1)).sign(rsa_key, hashes.SHA256())

    def serve(request: httpx2.Request) -> httpx2.Response:
        if request.url.params["operation"] == "GetCACert":
            return httpx2.Response(200, content=alone.public_bytes(Encoding.DER))
        if request.url.params["operation"] == "GetCACaps":
            return httpx2.Response(200, text="SCEPStandard\n")
        received = message.parse(request.content)
        opened = message.open_envelope(received, [signer])
        return httpx2.Response(200, content=success(signer, received, opened, issued.public_bytes(Encoding.DER)))

    assert outcome(served(serve), other_rsa_key).certificate == issued


def test_an_ra_that_only_signs_is_not_what_requests_are_enveloped_to(world: World, other_rsa_key: rsa.RSAPrivateKey) -> None:
    """NDES names two RA certificates."""
    signing = certificate_under(world, other_rsa_key, key_encipherment=False)
    order = (signing, world.ra.certificate, world.authority.certificate)
    body = certificates_only(certificate.public_bytes(Encoding.DER) for certificate in order)
    with served(answering(body)) as ours:
        assert ours.ca_certificates().ra == world.ra.certificate


def certificate_under(world: World, key: rsa.RSAPrivateKey, *, key_encipherment: bool) -> x509.Certificate:
    usage = x509.KeyUsage(
        digital_signature=not key_encipherment,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    issuer = world.authority
    builder = x509.CertificateBuilder(issuer.certificate.subject, client.named("an RA"), key.public_key(), 9)
    builder = builder.not_valid_before(world.clock.now()).not_valid_after(world.clock.now() + timedelta(days=1))
    assert isinstance(issuer.private_key, ec.EllipticCurvePrivateKey)
    return builder.add_extension(usage, critical=True).sign(issuer.private_key, hashes.SHA256())


def test_the_fingerprint_decides_which_ca_is_accepted(world: World) -> None:
    def serve(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=world.responder.ca_certificates("default")[1])

    right = hashlib.sha256(world.authority.certificate_der).hexdigest()
    spaced = " ".join(right[i : i + 2].upper() for i in range(0, 64, 2))
    for written in (right, right.upper(), ":".join(right[i : i + 2] for i in range(0, 64, 2)), spaced):
        with served(serve, fingerprint=written) as ours:
            assert ours.ca_certificates().fingerprint == right
    # The RA's, the root's, or nearly the right one.
    for wrong in (world.ra.certificate.fingerprint(hashes.SHA256()).hex(), right[:-1] + ("0" if right[-1] != "0" else "1")):
        with served(serve, fingerprint=wrong) as ours, pytest.raises(ServerMisbehaved, match=f"has the fingerprint {right}"):
            ours.ca_certificates()
    for no_sha256 in (right[:40], right + "00", "swordfish"):
        with pytest.raises(BadRequest, match="64 hexadecimal digits"):
            served(serve, fingerprint=no_sha256)


@pytest.mark.parametrize(
    "url", ["", "scep.test", "ftp://scep.test/x", "http://", "http://[::1", "http://exa\x01mple/", "file:///etc"]
)
def test_what_is_no_url_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(BadRequest, match="begins with http"):
        ScepClient(url)


def test_it_enrols_and_renews(world: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey) -> None:
    world.configure(renew_after=0.0)
    first = world.enrol(rsa_key, world.challenge(world.add_person()))
    assert first.certificate.public_key() == rsa_key.public_key()
    second = world.renew(first, other_rsa_key)
    assert second.certificate.public_key() == other_rsa_key.public_key()
    # With the same key again, as many clients do.
    assert world.renew(second, other_rsa_key).certificate.serial_number != second.certificate.serial_number


def test_a_key_never_shows(rsa_key: rsa.RSAPrivateKey, world: World) -> None:
    assert "private_key" not in repr(Identity(world.ra.certificate, rsa_key))


def test_a_refusal_carries_the_servers_reason(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(EnrolmentRefused) as caught:
        world.enrol(rsa_key, "WRONG")
    assert caught.value.fail_info == FailInfo.BAD_REQUEST
    assert str(caught.value) == "the server refused: the challenge password is missing or not valid here"


@pytest.mark.parametrize(("number", "name"), [(0, "BAD_ALG"), (4, "BAD_CERT_ID"), (9, "9"), (None, "None")])
def test_a_refusal_without_words_is_told_by_its_number(number: int | None, name: str) -> None:
    assert str(EnrolmentRefused(number, "")) == f"the server refused with failInfo {name}"


def test_pending_is_no_failure(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(EnrolmentPending):
        outcome(lying(world, lambda received, _: reply.pending(world.ra, received.exchange)), rsa_key)


def resealed(received: ReceivedMessage, **changes: object) -> ReceivedMessage:
    """Return ``received`` as if it had said something else."""
    values = {name: getattr(received, name) for name in ReceivedMessage.__slots__}
    return ReceivedMessage(**{**values, **changes})


def another_transaction(world: World, key: rsa.RSAPrivateKey) -> Answer:
    granted = certified(world, key)
    return lambda received, opened: success(world.ra, resealed(received, transaction_id="another"), opened, granted)


def another_nonce(world: World, key: rsa.RSAPrivateKey) -> Answer:
    granted = certified(world, key)
    return lambda received, opened: success(world.ra, resealed(received, sender_nonce=bytes(16)), opened, granted)


def no_nonce(world: World, key: rsa.RSAPrivateKey) -> Answer:
    granted = certified(world, key)
    return lambda received, opened: success(world.ra, resealed(received, sender_nonce=None), opened, granted)


def another_subscriber(world: World, key: rsa.RSAPrivateKey) -> Answer:
    """It is issued by the very CA, and signs as if it were the RA."""
    mallory = Signer.of(x509.load_der_x509_certificate(certified(world, key)), key)
    granted = certified(world, key)
    return lambda received, opened: success(mallory, received, opened, granted)


def a_stranger(world: World, key: rsa.RSAPrivateKey) -> Answer:
    stranger = client.throwaway_signer(key, world.ra.certificate.subject)
    granted = certified(world, key)
    return lambda received, opened: success(stranger, received, opened, granted)


def our_own_request(world: World, key: rsa.RSAPrivateKey) -> Answer:
    """A mirror: well signed, by ourselves."""
    signer = client.throwaway_signer(key, client.named("x"))
    return lambda received, _: message.build_request(
        signer,
        world.ra.certificate,
        b"x",
        message_type=message.MessageType.PKCS_REQ,
        transaction_id=received.transaction_id,
        sender_nonce=bytes(16),
        suite=Suite(),
    )


def another_key(world: World, key: rsa.RSAPrivateKey) -> Answer:
    other = rsa.generate_private_key(65537, 2048)
    assert other.public_key() != key.public_key()
    granted = certified(world, other)
    return lambda received, opened: success(world.ra, received, opened, granted)


def another_issuer(world: World, key: rsa.RSAPrivateKey) -> Answer:
    made = self_signed(key, world.clock).public_bytes(Encoding.DER)
    return lambda received, opened: success(world.ra, received, opened, made)


def no_certificate(world: World, _key: rsa.RSAPrivateKey) -> Answer:
    return lambda received, opened: success(world.ra, received, opened, b"")


def broken_certificate(world: World, _key: rsa.RSAPrivateKey) -> Answer:
    return lambda received, opened: success(world.ra, received, opened, tlv.sequence(tlv.integer(1)))


def broken_envelope(world: World, key: rsa.RSAPrivateKey) -> Answer:
    granted = certified(world, key)

    def answer(received: ReceivedMessage, opened: OpenedEnvelope) -> bytes:
        fine = message.parse(success(world.ra, received, opened, granted))
        attributes = [
            attribute(message.TRANSACTION_ID, tlv.printable_string(received.transaction_id)),
            attribute(message.MESSAGE_TYPE, tlv.printable_string("3")),
            attribute(message.PKI_STATUS, tlv.printable_string("0")),
            attribute(message.RECIPIENT_NONCE, tlv.octet_string(received.sender_nonce or b"")),
        ]
        return sign(world.ra, fine.content[:-16] + bytes(16), attributes, Digest.SHA256)

    return answer


def a_broken_signature(world: World, key: rsa.RSAPrivateKey) -> Answer:
    granted = certified(world, key)

    def answer(received: ReceivedMessage, opened: OpenedEnvelope) -> bytes:
        good = success(world.ra, received, opened, granted)
        return good[:-1] + bytes([good[-1] ^ 1])

    return answer


def no_message(_world: World, _key: rsa.RSAPrivateKey) -> Answer:
    return lambda _received, _opened: b"<html>Welcome!</html>"


LIES = {
    another_transaction: "answers another request",
    another_nonce: "answers another request",
    no_nonce: "answers another request",
    our_own_request: "answers another request",
    another_subscriber: "a certificate that GetCACert did not name",
    a_stranger: "a certificate that GetCACert did not name",
    another_key: "without a certificate over our key",
    another_issuer: "not issued by the CA of GetCACert",
    no_certificate: "without a certificate over our key",
    broken_certificate: "cannot be read",
    broken_envelope: "cannot be decrypted",
    a_broken_signature: "signature does not verify",
    no_message: "cannot be read",
}


@pytest.mark.parametrize(("lie", "reason"), LIES.items(), ids=lambda value: getattr(value, "__name__", None))
def test_a_lie_is_not_believed(
    world: World, rsa_key: rsa.RSAPrivateKey, lie: Callable[[World, rsa.RSAPrivateKey], Answer], reason: str
) -> None:
    with pytest.raises(ServerMisbehaved, match=reason):
        outcome(lying(world, lie(world, rsa_key)), rsa_key)


def test_the_truth_is_believed(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    """So that the tests above fail for what they say."""
    granted = certified(world, rsa_key)
    honest = lying(world, lambda received, opened: success(world.ra, received, opened, granted))
    assert outcome(honest, rsa_key).certificate.public_bytes(Encoding.DER) == granted


def test_a_refusal_by_somebody_else_is_not_believed(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    stranger = client.throwaway_signer(rsa_key, world.ra.certificate.subject)
    liar = lying(world, lambda received, _: reply.failure(stranger, received.exchange, FailInfo.BAD_REQUEST, "go away"))
    with pytest.raises(ServerMisbehaved, match="GetCACert did not name"):
        outcome(liar, rsa_key)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"\x30\x00", certificates_only([]), certificates_only([b"\x30\x03\x02\x01\x01"])],
    ids=["nothing", "HTML", "DER", "no certificate", "a broken certificate"],
)
def test_get_ca_cert_without_certificates_is_misbehaviour(body: bytes) -> None:
    with served(answering(body)) as ours, pytest.raises(ServerMisbehaved, match="GetCACert"):
        ours.ca_certificates()


def test_certificates_that_do_not_belong_together_are_no_ca(
    world: World, rsa_key: rsa.RSAPrivateKey, ec_key: ec.EllipticCurvePrivateKey
) -> None:
    ra, issuer = world.ra.certificate_der, world.authority.certificate_der
    stranger = self_signed(rsa_key, world.clock).public_bytes(Encoding.DER)
    for bag in ([ra, stranger], [issuer, *world.authority.chain], [self_signed(ec_key, world.clock).public_bytes(Encoding.DER)]):
        body = certificates_only(bag)
        with served(answering(body)) as ours, pytest.raises(ServerMisbehaved):
            ours.ca_certificates()


def test_an_answer_beyond_the_bound_is_cut_short(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    read = [0]

    class Endless(httpx2.SyncByteStream):
        def __iter__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204 - the base's shape
            for _ in range(1000):
                read[0] += 65536
                yield bytes(65536)

    def serve(request: httpx2.Request) -> httpx2.Response:
        if request.url.params["operation"] == "GetCACaps":
            return httpx2.Response(200, text="SCEPStandard")
        return httpx2.Response(200, stream=Endless())

    with served(serve) as ours:
        with pytest.raises(ServerMisbehaved, match=f"above {MAX_REPLY_BYTES} bytes"):
            ours.ca_certificates()
        assert read[0] <= MAX_REPLY_BYTES + 65536
        with pytest.raises(ServerMisbehaved, match=f"above {MAX_REPLY_BYTES} bytes"):
            ours.enrol(CaBag(world.ra.certificate, world.authority.certificate, ()), rsa_key, build_csr(rsa_key, "x"))


@pytest.mark.parametrize("status", [302, 400, 404, 500])
def test_an_http_error_is_told_with_what_the_server_said(status: int) -> None:
    answer = httpx2.Response(status, text="there is no such SCEP endpoint", headers={"location": "http://elsewhere.test/"})
    with served(lambda _request: answer) as ours, pytest.raises(ServerMisbehaved, match=f"HTTP {status}: there is no such"):
        ours.ca_certificates()


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_puts_us_off_is_unreachable_for_now(status: int) -> None:
    answer = httpx2.Response(status, text="come back later")
    with served(lambda _request: answer) as ours, pytest.raises(ServerUnreachable, match=f"HTTP {status}: come back later"):
        ours.ca_certificates()


def test_a_lost_answer_is_asked_for_again_with_the_same_bytes(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    """Then the server gives the same certificate: nothing is lost, and nothing issued twice."""
    challenge = world.challenge(world.add_person())
    sent: list[bytes] = []

    def serve(request: httpx2.Request) -> httpx2.Response:
        if (told := about_the_server(world, request)) is not None:
            return told
        sent.append(request.content)
        answer = world.responder.pki_operation("default", request.content, origin="test")
        if len(sent) < 3:
            raise httpx2.ReadTimeout("lost")
        return httpx2.Response(200, content=answer)

    with served(serve) as ours:
        ours.enrol(ours.ca_certificates(), rsa_key, build_csr(rsa_key, "x", challenge))
    assert sent == [sent[0]] * 3
    assert world.counts()["certificates"] == 1


def test_a_server_that_never_answers_is_given_up() -> None:
    tried = []

    def serve(request: httpx2.Request) -> httpx2.Response:
        tried.append(request.url)
        raise httpx2.ConnectError("refused")

    with served(serve) as ours, pytest.raises(ServerUnreachable, match=r"scep.test/scep/default does not answer: ConnectError"):
        ours.ca_certificates()
    assert len(tried) == 3


def test_requests_are_made_with_what_the_server_lists(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    seen: list[tuple[Digest, Cipher]] = []

    def answer(received: ReceivedMessage, opened: OpenedEnvelope) -> bytes:
        seen.append((received.digest, opened.cipher))
        return success(world.ra, received, opened, certified(world, rsa_key))

    outcome(lying(world, answer), rsa_key)
    assert seen == [(Digest.SHA256, Cipher.AES128)]


def test_a_challenge_leaves_in_the_envelope_only(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    sent: list[bytes] = []

    def serve(request: httpx2.Request) -> httpx2.Response:
        sent.append(bytes(request.url.raw_path) + request.content)
        return about_the_server(world, request) or httpx2.Response(200, content=b"no message")

    with served(serve) as ours, pytest.raises(ServerMisbehaved):
        ours.enrol(ours.ca_certificates(), rsa_key, build_csr(rsa_key, "x", "swordfish-swordfish"))
    assert len(sent) == 3
    assert not any(b"swordfish" in data for data in sent)


def test_a_new_ra_key_is_fetched_with_the_next_bag(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    pair = world.transactions.write(
        lambda session: ra_keys.create_ra_key(session, world.keystore, world.authority, actor=ACTOR, now=world.clock.now())
    )
    world.ra = Signer.of(pair.certificate, pair.private_key)
    identity = world.enrol(rsa_key, world.challenge(world.add_person()))
    assert read_certificates(certificates_only([identity.certificate.public_bytes(Encoding.DER)]))
