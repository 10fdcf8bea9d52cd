"""Our client asks: CertPoll, GetCert, GetCRL and GetNextCACert; and what it does not believe of the answers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from foundation.errors import BadRequest
from scep import message, reply
from scep.algorithms import Digest
from scep.ca_certificates import CaBag
from scep.client import ClientKey, Identity, ScepClient, build_csr, named, throwaway_signer
from scep.client_keys import Application, KeyKind, challenge_in, generate_key
from scep.client_polling import Patience, poll_until_decided
from scep.envelope import OpenedEnvelope
from scep.errors import EnrolmentPending, EnrolmentRefused, FailInfo, ServerLacks, ServerMisbehaved, ServerUnreachable
from scep.message import MessageType, ReceivedMessage
from scep.queries import IssuerAndSerial, IssuerAndSubject, read_issuer_and_serial, read_issuer_and_subject
from scep.signing import Signer, certificates_only, crl_only, sign
from tests.scep.messages import success
from tests.scep.test_client import certified
from tests.scep.world import World

Answer = Callable[[ReceivedMessage, OpenedEnvelope], bytes]


@dataclass
class Server:
    """A server over the keys of a world, which answers messages with what ``answer`` makes of them."""

    world: World
    answer: Answer
    capabilities: str = "SCEPStandard\nGetNextCACert\n"
    next_ca: bytes = b""

    def __post_init__(self) -> None:
        self.asked: list[ReceivedMessage] = []

    def client(self, fingerprint: str = "") -> ScepClient:
        """Return our client before it."""
        transport = httpx2.MockTransport(self._serve)
        return ScepClient("http://scep.test/scep/default", transport=transport, fingerprint=fingerprint)

    def _serve(self, request: httpx2.Request) -> httpx2.Response:
        match request.url.params["operation"]:
            case "GetCACaps":
                return httpx2.Response(200, text=self.capabilities)
            case "GetCACert":
                return httpx2.Response(200, content=self.world.responder.ca_certificates("default")[1])
            case "GetNextCACert":
                return httpx2.Response(200, content=self.next_ca)
            case _:
                received = message.parse(request.content)
                self.asked.append(received)
                return httpx2.Response(200, content=self.answer(received, message.open_envelope(received, [self.world.ra])))


def found(world: World, content: bytes) -> Answer:
    return lambda received, opened: reply.found(world.ra, received, opened, reply.recipient(received, opened, ""), content)


def application(key: ClientKey, challenge: str = "swordfish") -> Application:
    return Application(build_csr(key, "a device", challenge), key)


# --- CertPoll ---


def test_a_pending_request_is_asked_after_under_its_own_transaction(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    granted, contents = certified(world, rsa_key), list[bytes]()

    def answer(received: ReceivedMessage, opened: OpenedEnvelope) -> bytes:
        contents.append(opened.content)
        if received.message_type == MessageType.PKCS_REQ:
            return reply.pending(world.ra, received.exchange)
        return success(world.ra, received, opened, granted)

    server, wanted = Server(world, answer), application(rsa_key)
    with server.client() as ours:
        bag = ours.ca_certificates()
        with pytest.raises(EnrolmentPending):
            ours.apply(bag, wanted)
        identity = ours.poll(bag, wanted)
    assert identity.certificate.public_bytes(Encoding.DER) == granted
    assert [asked.message_type for asked in server.asked] == [MessageType.PKCS_REQ, MessageType.CERT_POLL]
    first, second = server.asked
    assert first.transaction_id == second.transaction_id == wanted.transaction_id
    assert first.sender_nonce != second.sender_nonce
    assert read_issuer_and_subject(contents[1]) == IssuerAndSubject(world.authority.subject_der, named("a device").public_bytes())


def test_a_poll_goes_on_after_a_restart(rsa_key: rsa.RSAPrivateKey) -> None:
    """Nothing but the request and its key is needed."""
    wanted = application(rsa_key)
    kept = x509.load_pem_x509_csr(wanted.csr.public_bytes(Encoding.PEM))
    assert Application(kept, rsa_key).transaction_id == wanted.transaction_id
    assert challenge_in(kept) == "swordfish"
    assert challenge_in(build_csr(rsa_key, "x")) == ""


def only_signs(key: ec.EllipticCurvePrivateKey) -> Identity:
    model = throwaway_signer(key, named("x")).certificate
    builder = x509.CertificateBuilder(model.issuer, model.subject, key.public_key(), model.serial_number)
    builder = builder.not_valid_before(model.not_valid_before_utc).not_valid_after(model.not_valid_after_utc)
    flags = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    flags += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # type: ignore[assignment] # one tuple
    usage = x509.KeyUsage(digital_signature=True, **dict.fromkeys(flags, False))
    return Identity(builder.add_extension(usage, critical=True).sign(key, hashes.SHA256()), key)


def test_a_key_that_can_only_sign_asks_by_sending_its_request_again(world: World) -> None:
    """No reply to a CertPoll could be enveloped to it."""
    key = ec.generate_private_key(ec.SECP256R1())
    granted = certified(world, key)  # type: ignore[arg-type] # any key will do
    server = Server(world, lambda received, opened: success(world.ra, received, opened, granted, challenge="swordfish"))
    with server.client() as ours:
        renewal = replace(application(key), held=only_signs(key))
        assert ours.poll(ours.ca_certificates(), renewal).certificate.public_bytes(Encoding.DER) == granted
    assert [asked.message_type for asked in server.asked] == [MessageType.RENEWAL_REQ]


def test_polling_ends_with_a_decision_or_with_patience() -> None:
    slept: list[float] = []
    outcomes: list[Exception] = []

    def poll() -> str:
        if outcomes:
            raise outcomes.pop(0)
        return "decided"

    def run(*errors: Exception) -> str:
        slept.clear()
        outcomes[:] = errors
        return poll_until_decided(poll, poll, Patience(timedelta(seconds=10), timedelta(seconds=30)), slept.append)

    assert (run(), slept) == ("decided", [])
    assert (run(EnrolmentPending("x"), ServerUnreachable("x"), EnrolmentPending("x")), slept) == ("decided", [10.0, 10.0, 10.0])
    with pytest.raises(EnrolmentPending, match="the last"):
        run(*[EnrolmentPending("x")] * 3, EnrolmentPending("the last"))
    assert slept == [10.0] * 3
    with pytest.raises(EnrolmentRefused):
        run(EnrolmentPending("x"), EnrolmentRefused(2, "no"))
    # Before the server knows of the request, there is nothing to wait for.
    with pytest.raises(ServerUnreachable):
        run(ServerUnreachable("x"))
    assert slept == []
    with pytest.raises(BadRequest):
        Patience(timedelta(), timedelta(hours=1))


# --- GetCert and GetCRL ---


def signer(key: rsa.RSAPrivateKey) -> Signer:
    return throwaway_signer(key, named("x"))


def test_a_certificate_is_asked_for_by_issuer_and_serial(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    der = certified(world, rsa_key)
    wanted = x509.load_der_x509_certificate(der)
    contents: list[bytes] = []

    def answer(received: ReceivedMessage, opened: OpenedEnvelope) -> bytes:
        contents.append(opened.content)
        return found(world, certificates_only([world.authority.certificate_der, der]))(received, opened)

    server = Server(world, answer)
    with server.client() as ours:
        assert ours.certificate(ours.ca_certificates(), signer(rsa_key), wanted.serial_number) == wanted
    assert server.asked[0].message_type == MessageType.GET_CERT
    assert read_issuer_and_serial(contents[0]) == IssuerAndSerial(world.authority.subject_der, wanted.serial_number)


def crl_of(world: World, key: ec.EllipticCurvePrivateKey | None = None, issuer: x509.Name | None = None) -> bytes:
    builder = x509.CertificateRevocationListBuilder(issuer_name=issuer or world.authority.certificate.subject)
    builder = builder.last_update(world.clock.now()).next_update(world.clock.now() + timedelta(days=1))
    authority_key = key or world.authority.private_key
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
    return builder.sign(authority_key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_crl_is_asked_for_by_issuer_and_serial(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    der = crl_of(world)
    server = Server(world, found(world, crl_only(der)))
    with server.client() as ours:
        crl = ours.crl(ours.ca_certificates(), signer(rsa_key), 7)
    assert crl.public_bytes(Encoding.DER) == der
    assert server.asked[0].message_type == MessageType.GET_CRL


def test_certificates_that_were_not_asked_for_are_not_believed(
    world: World, rsa_key: rsa.RSAPrivateKey, ec_key: ec.EllipticCurvePrivateKey
) -> None:
    serial = x509.load_der_x509_certificate(certified(world, rsa_key)).serial_number
    stranger = throwaway_signer(ec_key, named("x")).certificate_der
    for content, asked, reason in (
        (certificates_only([certified(world, rsa_key)]), serial, "without the certificate"),
        (certificates_only([]), serial, "without the certificate"),
        (certificates_only([stranger]), 1, "not issued by the CA"),
        (b"\x30\x00", 1, "cannot be read"),
    ):
        with Server(world, found(world, content)).client() as ours, pytest.raises(ServerMisbehaved, match=reason):
            ours.certificate(ours.ca_certificates(), signer(rsa_key), asked)


def test_a_crl_of_somebody_else_is_not_believed(
    world: World, rsa_key: rsa.RSAPrivateKey, ec_key: ec.EllipticCurvePrivateKey
) -> None:
    for content, reason in (
        (crl_only(crl_of(world, ec_key)), "without a CRL of the CA"),
        (crl_only(crl_of(world, None, named("another CA"))), "without a CRL of the CA"),
        (certificates_only([]), "without a CRL of the CA"),
        (crl_only(b"\x30\x00"), "cannot be read"),
        (b"\x30\x00", "cannot be read"),
    ):
        with Server(world, found(world, content)).client() as ours, pytest.raises(ServerMisbehaved, match=reason):
            ours.crl(ours.ca_certificates(), signer(rsa_key), 1)


def test_a_query_that_is_refused_says_why(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    server = Server(world, lambda received, _: reply.failure(world.ra, received.exchange, FailInfo.BAD_CERT_ID, "there is none"))
    with server.client() as ours:
        bag = ours.ca_certificates()
        for ask in (ours.certificate, ours.crl):
            with pytest.raises(EnrolmentRefused, match="the server refused: there is none"):
                ask(bag, signer(rsa_key), 1)


# --- GetNextCACert ---


def next_ca(world: World) -> bytes:
    """Return the certificate of the CA to come."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(named("next"), named("next"), key.public_key(), 5).not_valid_before(world.clock.now())
    builder = builder.not_valid_after(world.clock.now() + timedelta(days=9))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def no_answer(_received: ReceivedMessage, _opened: OpenedEnvelope) -> bytes:
    raise AssertionError("not asked for")


def next_of(world: World, body: bytes) -> tuple[tuple[x509.Certificate, ...], CaBag]:
    with Server(world, no_answer, next_ca=body).client() as ours:
        bag = ours.ca_certificates()
        return ours.next_ca_certificates(bag), bag


def test_the_next_ca_is_believed_when_todays_ca_or_ra_signed_for_it(world: World) -> None:
    following = next_ca(world)
    authority = world.authority
    assert isinstance(authority.private_key, ec.EllipticCurvePrivateKey)
    for current in (Signer.of(authority.certificate, authority.private_key), world.ra):
        certificates, _ = next_of(world, sign(current, certificates_only([following]), (), Digest.SHA256))
        assert [each.public_bytes(Encoding.DER) for each in certificates] == [following]
        # As OpenXPKI and jscep have it: beside the signer's.
        beside = replace(current, chain=(following,))
        certificates, _ = next_of(world, sign(beside, b"", (), Digest.SHA256))
        assert [each.public_bytes(Encoding.DER) for each in certificates] == [following]


def test_a_next_ca_that_nobody_signed_for_is_not_believed(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    following = certificates_only([next_ca(world)])
    stranger = throwaway_signer(rsa_key, world.ra.certificate.subject)
    subscriber = Signer.of(x509.load_der_x509_certificate(certified(world, rsa_key)), rsa_key)
    good = sign(world.ra, following, (), Digest.SHA256)
    for body, reason in (
        (following, "signed bag"),
        (b"<html>", "signed bag"),
        (good[:-1] + bytes((good[-1] ^ 1,)), "signature does not verify"),
        (sign(stranger, following, (), Digest.SHA256), "GetCACert did not name"),
        (sign(subscriber, following, (), Digest.SHA256), "GetCACert did not name"),
        (sign(world.ra, b"", (), Digest.SHA256), "named no CA"),
        (sign(world.ra, certificates_only([certified(world, rsa_key)]), (), Digest.SHA256), "named no CA"),
        (sign(world.ra, b"\x30\x00", (), Digest.SHA256), "certificates"),
    ):
        with pytest.raises(ServerMisbehaved, match=reason):
            next_of(world, body)


def test_a_server_without_a_next_ca_is_not_asked_for_it(world: World) -> None:
    with (
        Server(world, no_answer, capabilities="SCEPStandard").client() as ours,
        pytest.raises(ServerLacks, match="GetNextCACert"),
    ):
        ours.next_ca_certificates(ours.ca_certificates())


def test_a_ca_that_the_expected_one_named_is_accepted_in_its_place(world: World) -> None:
    wrong = "0" * 64
    with Server(world, no_answer).client(fingerprint=wrong) as ours, pytest.raises(ServerMisbehaved, match="fingerprint"):
        ours.ca_certificates()
    named_before = [world.authority.certificate]
    transport = httpx2.MockTransport(Server(world, no_answer)._serve)  # noqa: SLF001 - the fake's own
    with ScepClient("http://scep.test/x", fingerprint=wrong, successors=named_before, transport=transport) as ours:
        assert ours.ca_certificates().issuer == world.authority.certificate


# --- keys ---


@pytest.mark.parametrize("kind", [KeyKind.RSA2048, KeyKind.P256, KeyKind.P384, KeyKind.P521])
def test_every_kind_of_key_enrols_and_renews(world: World, kind: KeyKind) -> None:
    world.configure(renew_after=0.0)
    key = generate_key(kind)
    held = world.enrol(key, world.challenge(world.add_person(), profile="smime-dual"))
    assert held.certificate.public_key() == key.public_key()
    renewed = world.renew(held, generate_key(kind))
    assert renewed.certificate.public_key() == renewed.private_key.public_key()


def test_a_key_that_can_only_sign_renews_with_a_fresh_challenge(world: World) -> None:
    """``identity`` certificates of EC keys have no keyAgreement."""
    world.configure(renew_after=0.0)
    person = world.add_person()
    key = generate_key(KeyKind.P256)
    held = world.enrol(key, world.challenge(person))
    following = generate_key(KeyKind.P256)
    wanted = Application(build_csr(following, held.certificate.subject, world.challenge(person)), following, held)
    with world.client() as ours:
        assert ours.apply(ours.ca_certificates(), wanted).certificate.public_key() == following.public_key()
