"""Messages sent again, by whoever made them or by somebody else who has them.

SCEP goes over plain HTTP, so an attacker has every message. The envelope of one he cannot open; he can send it again, or put his
own signature, transactionID and challenge around it.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca.certified import names_in
from foundation import tlv
from scep import envelope, message, password_recipient
from scep.client import named, throwaway_signer
from scep.errors import AlgorithmRefused, FailInfo, ScepRefusal
from scep.message import MessageType, PkiStatus
from scep.signing import Signer, attribute
from tests.scep.peers import Peer, certificate_request, trace
from tests.scep.world import World


@pytest.fixture
def alice(world: World, rsa_key: rsa.RSAPrivateKey) -> Peer:
    """Somebody with a challenge to spend."""
    return Peer.stranger(world, rsa_key)


@pytest.fixture
def attacker(world: World, other_rsa_key: rsa.RSAPrivateKey) -> Peer:
    """Somebody who has what Alice sent."""
    return Peer.stranger(world, other_rsa_key)


@pytest.fixture
def request_der(world: World, alice: Peer) -> bytes:
    """Alice's certificate request, with a live challenge in it."""
    return certificate_request(alice.key, world.challenge(world.add_person()))


def test_a_message_sent_again_as_it_is_gets_an_answer_that_its_sender_alone_can_open(
    alice: Peer, attacker: Peer, request_der: bytes
) -> None:
    sent = alice.signed(alice.sealed(request_der))
    first = alice.granted(alice.send(sent))
    replayed = attacker.send(sent)
    assert replayed.pki_status == PkiStatus.SUCCESS
    with pytest.raises(ScepRefusal):
        message.open_envelope(replayed, [attacker.signer])
    assert alice.granted(replayed) == first
    assert alice.world.counts()["certificates"] == 1


def test_an_answer_sent_again_carries_a_nonce_of_its_own_and_the_one_of_this_attempt(alice: Peer, request_der: bytes) -> None:
    sealed = alice.sealed(request_der)
    answers = [alice.send(alice.signed(sealed, nonce=nonce)) for nonce in (b"1" * 16, b"2" * 16, b"3" * 8, None)]
    assert len({alice.granted(answer) for answer in answers}) == 1
    assert [answer.recipient_nonce for answer in answers] == [b"1" * 16, b"2" * 16, b"3" * 8, b""]
    assert len({answer.sender_nonce for answer in answers}) == 4


@pytest.mark.parametrize("transaction_id", ["1", "of the attacker"], ids=["same transaction", "another transaction"])
@pytest.mark.parametrize("attacker_first", [True, False])
def test_a_copied_envelope_gets_its_copier_a_certificate_for_anothers_key_and_costs_the_owner_nothing(
    alice: Peer, attacker: Peer, request_der: bytes, transaction_id: str, *, attacker_first: bool
) -> None:
    """The answer is sealed for whoever signed. All he gets is public: a certificate of Alice's key in Alice's names.

    And whoever comes second finds the challenge spent, on the very key that is to be certified: the same certificate it is then,
    or an attacker who is quick could leave Alice without one.
    """
    sealed = alice.sealed(request_der)
    copied = attacker.signed(sealed, transaction_id=transaction_id)
    certificates = []
    for peer, sent in sorted(
        ((attacker, copied), (alice, alice.signed(sealed))), key=lambda each: each[0] is alice and attacker_first
    ):
        certificates.append(peer.granted(peer.send(sent)))
    assert len(set(certificates)) == 1
    assert certificates[0].public_key() == alice.key.public_key()
    assert names_in(certificates[0]).upn == "alice@example.com"
    assert alice.world.counts()["certificates"] == 1


def test_a_spent_challenge_gives_the_certificate_again_to_its_key_alone(
    alice: Peer, attacker: Peer, third_rsa_key: rsa.RSAPrivateKey
) -> None:
    """Clients are seen that make a new request, in a new transaction, when an answer was lost on its way."""
    challenge = alice.world.challenge(alice.world.add_person())
    first = alice.granted(alice.ask(certificate_request(alice.key, challenge)))
    again = certificate_request(alice.key, challenge, subject=named("the same device, trying again"))
    assert alice.granted(alice.ask(again, transaction_id="2")) == first
    for key in (attacker.key, third_rsa_key):
        refused = attacker.ask(certificate_request(key, challenge), transaction_id="3")
        assert (refused.pki_status, refused.fail_info) == (PkiStatus.FAILURE, FailInfo.BAD_REQUEST)
    assert alice.world.counts()["certificates"] == 1


def test_a_spent_challenge_gives_nothing_at_another_endpoint(alice: Peer, request_der: bytes) -> None:
    alice.granted(alice.ask(request_der))
    answer = alice.at("other").ask(request_der, transaction_id="2")
    assert (answer.pki_status, answer.fail_info) == (PkiStatus.FAILURE, FailInfo.BAD_REQUEST)


def test_a_copied_envelope_under_ones_own_challenge_is_no_certificate_for_ones_own_key(
    alice: Peer, attacker: Peer, request_der: bytes
) -> None:
    """The challenge in the request counts: what is put beside the envelope cannot take its place."""
    mallory = attacker.world.add_person("mallory@example.com", "mallory@example.com", display_name="Mallory")
    his = attacker.world.challenge(mallory)
    more = [attribute(message.CHALLENGE_PASSWORD, tlv.printable_string(his))]
    certificate = attacker.granted(attacker.send(attacker.signed(alice.sealed(request_der), more=more)))
    assert names_in(certificate).upn == "alice@example.com"
    assert certificate.public_key() == alice.key.public_key()
    # His own is as good as before.
    assert names_in(attacker.granted(attacker.ask(certificate_request(attacker.key, his), transaction_id="2"))).upn == mallory.upn


def test_a_copied_envelope_is_not_answered_under_its_challenge(alice: Peer, request_der: bytes) -> None:
    """Sealed by challenge, the answer would let whoever copied the request try passwords at home, a million a second.

    To have it sealed so, he would sign with a key that can only sign.
    """
    sealed = alice.sealed(request_der)
    before = trace(alice.world)
    for curve in (ec.SECP256R1(), ec.BrainpoolP256R1()):
        answer = alice.signing_as(signing_only(curve)).send(alice.signing_as(signing_only(curve)).signed(sealed))
        assert (answer.pki_status, answer.fail_info) == (PkiStatus.FAILURE, AlgorithmRefused.fail_info)
        assert answer.content == b""
    assert trace(alice.world)[:3] == before[:3]
    assert alice.granted(alice.send(alice.signed(sealed)))


def test_the_key_to_be_certified_may_be_answered_under_its_challenge(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    """So that the refusal above is for what it says."""
    signer = signing_only(ec.SECP256R1())
    challenge = world.challenge(world.add_person())
    assert isinstance(signer.private_key, ec.EllipticCurvePrivateKey)
    request = certificate_request(signer.private_key, challenge)
    answer = Peer(world, rsa_key, signer).ask(request)
    assert answer.pki_status == PkiStatus.SUCCESS
    assert [info[0] for info in envelope.read_envelope(answer.content).recipient_infos] == [password_recipient.RECIPIENT_TAG]


def signing_only(curve: ec.EllipticCurve) -> Signer:
    """Return somebody whose certificate keeps its key from agreeing on anything."""
    key = ec.generate_private_key(curve)
    model = throwaway_signer(key, named("signs")).certificate
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = x509.CertificateBuilder(model.issuer, model.subject, key.public_key(), model.serial_number)
    builder = builder.not_valid_before(model.not_valid_before_utc).not_valid_after(model.not_valid_after_utc)
    return Signer.of(builder.add_extension(usage, critical=True).sign(key, hashes.SHA256()), key)


# --- one transactionID, two clients ---


def test_two_clients_of_one_transaction_id_get_their_own(alice: Peer, attacker: Peer, request_der: bytes) -> None:
    """Clients derive it from what they like; it is nobody's."""
    bob = alice.world.add_person("bob@example.com", "bob@example.com", display_name="Bob")
    bobs = certificate_request(attacker.key, alice.world.challenge(bob))
    assert names_in(alice.granted(alice.ask(request_der, transaction_id="same"))).upn == "alice@example.com"
    assert names_in(attacker.granted(attacker.ask(bobs, transaction_id="same"))).upn == "bob@example.com"
    assert names_in(alice.granted(alice.ask(request_der, transaction_id="same"))).upn == "alice@example.com"
    assert alice.world.counts()["certificates"] == 2


def test_a_transaction_id_alone_gets_nothing_out(alice: Peer, attacker: Peer, request_der: bytes) -> None:
    alice.granted(alice.ask(request_der, transaction_id="hers"))
    for message_type in (MessageType.PKCS_REQ, MessageType.RENEWAL_REQ, MessageType.CERT_POLL):
        answer = attacker.ask(certificate_request(attacker.key), transaction_id="hers", message_type=message_type)
        assert answer.pki_status == PkiStatus.FAILURE
        assert answer.content == b""


# --- one challenge, many at once ---


def test_fifty_at_once_with_one_challenge_get_one_certificate(
    both_worlds: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey, third_rsa_key: rsa.RSAPrivateKey
) -> None:
    challenge = both_worlds.challenge(both_worlds.add_person())
    keys = (rsa_key, other_rsa_key, third_rsa_key)
    peers = [Peer.stranger(both_worlds, key) for key in keys]

    def attempt(number: int) -> tuple[int, x509.Certificate | None]:
        peer = peers[number % 3]
        request = certificate_request(peer.key, challenge, subject=named(f"attempt {number}"))
        answer = peer.ask(request, transaction_id=str(number))
        return number % 3, peer.granted(answer) if answer.pki_status == PkiStatus.SUCCESS else None

    with ThreadPoolExecutor(50) as pool:
        outcomes = list(pool.map(attempt, range(50)))
    got = {(which, certificate) for which, certificate in outcomes if certificate is not None}
    ((winner, certificate),) = got
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert certificate.public_key().public_bytes(*spki) == keys[winner].public_key().public_bytes(*spki)
    assert both_worlds.counts()["certificates"] == 1
    assert both_worlds.counts()["enrolments"] == 1
