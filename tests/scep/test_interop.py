"""What real clients do and need at an endpoint, where no other test of this room says it (facts/scep.md sections 3 and 6).

docs/interoperability.md lists each fact with the test that fails without it.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.applications import Starlette
from starlette.testclient import TestClient

from ca.errors import KeyUnavailable
from foundation import tlv
from scep import message, reply
from scep.algorithms import Cipher, Digest, KeyTransport, Suite
from scep.certificate import subject_key_identifier
from scep.client import named
from scep.cms import read_certificates, read_signed_data
from scep.errors import Exchange, FailInfo
from scep.http import ScepApplication, routes
from scep.message import MessageType, PkiStatus
from scep.signing import Signer, attribute
from tests.foundation.ber_encoding import to_ber
from tests.scep.messages import RA, signer_of, windows_throwaway_certificate
from tests.scep.peers import Peer, certificate_request
from tests.scep.surgery import rebuilt, walk
from tests.scep.world import World

LEGACY = Suite(digest=Digest.SHA1, cipher=Cipher.DES3)


@pytest.fixture
def client(world: World, rsa_key: rsa.RSAPrivateKey) -> Peer:
    """A device."""
    return Peer.stranger(world, rsa_key)


@pytest.fixture
def request_der(world: World, client: Peer) -> bytes:
    """Its certificate request, with a live challenge."""
    return certificate_request(client.key, world.challenge(world.add_person()))


@pytest.fixture
def http(world: World) -> Iterator[httpx2.Client]:
    """The endpoint behind its routes."""
    with ThreadPoolExecutor(2) as pool:
        yield TestClient(Starlette(routes=list(routes(ScepApplication(world.responder, pool)))), raise_server_exceptions=False)


# --- HTTP ---


@pytest.mark.parametrize("switches", [{}, {"legacy": True}, {"museum": True}], ids=["strict", "legacy", "museum"])
def test_capabilities_are_exact_words_on_lines_of_a_kilobyte_at_most(
    world: World, http: httpx2.Client, switches: dict[str, Any]
) -> None:
    """certmonger reads no more; sscep, strongSwan and macOS compare with case."""
    world.configure(**switches)
    body = http.get("/scep/default?operation=GetCACaps").content
    assert len(body) <= 1024
    assert b"\r" not in body
    known = {"AES", "DES3", "GetNextCACert", "POSTPKIOperation", "Renewal", "SCEPStandard"}
    known |= {"SHA-1", "SHA-256", "SHA-384", "SHA-512"}
    assert set(body.decode().splitlines()) <= known
    # Without Renewal macOS and certmonger renew nothing; without SHA-384 strongSwan 5.9.8 refuses its own default.
    assert {"Renewal", "SHA-384", "AES", "POSTPKIOperation", "SCEPStandard"} <= set(body.decode().splitlines())


@pytest.mark.parametrize("operation", ["GetCACaps", "GetCACert"])
def test_a_hint_without_a_value_or_twice_is_still_a_hint(http: httpx2.Client, operation: str) -> None:
    for hint in ("&message", "&message=a&message=b", "&message=%FF%00", "&message=" + "x" * 5000):
        assert http.get(f"/scep/default?operation={operation}{hint}").status_code == 200
        assert http.get(f"/scep/default?message=ca&operation={operation}").status_code == 200


@pytest.mark.parametrize("query", ["operation=PKIOperation&message=!", "operation=Nothing", ""])
def test_errors_have_a_content_type_too(http: httpx2.Client, query: str) -> None:
    answer = http.get(f"/scep/default?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/plain")


# --- GetCACert ---


def usage(certificate: x509.Certificate) -> x509.KeyUsage:
    return certificate.extensions.get_extension_for_class(x509.KeyUsage).value


def is_ca(certificate: x509.Certificate) -> bool:
    return any(isinstance(each.value, x509.BasicConstraints) and each.value.ca for each in certificate.extensions)


def bag(world: World) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(der) for der in read_certificates(world.responder.ca_certificates("default")[1])]


def test_the_ra_is_found_by_its_key_usage_and_is_alone_in_that(world: World) -> None:
    """Apple answers -67731 otherwise, before it sends anything; jscep and sscep look for the bits as well."""
    certificates = bag(world)
    enveloped_to = [each for each in certificates if not is_ca(each) and usage(each).key_encipherment]
    signing = [each for each in certificates if not is_ca(each) and usage(each).digital_signature]
    assert enveloped_to == signing == [world.ra.certificate]
    assert isinstance(world.ra.certificate.public_key(), rsa.RSAPublicKey)


def test_the_order_is_the_ras_the_issuers_the_roots_though_der_would_sort(world: World) -> None:
    """Some clients take the first, whatever it is; strongSwan needs the root."""
    certificates = bag(world)
    assert certificates[0] == world.ra.certificate
    for certificate, issuer in pairwise(certificates):
        certificate.verify_directly_issued_by(issuer)
    assert certificates[-1].issuer == certificates[-1].subject
    encoded = [each.public_bytes(Encoding.DER) for each in certificates]
    assert encoded != sorted(encoded), "the test says something only where DER would have another order"


def test_the_certificate_that_a_client_picked_is_the_one_that_signs(client: Peer, request_der: bytes) -> None:
    """jscep compares: the signer of a CertRep is the certificate of the bag with digitalSignature."""
    answer = client.ask(request_der)
    assert answer.signer.der in read_certificates(client.world.responder.ca_certificates("default")[1])


# --- requests ---


@pytest.mark.parametrize("serial_number", [0x5A17, -0x5A17])
def test_windows_signs_with_a_throwaway_key_in_sha1_and_is_answered_where_that_is_admitted(
    client: Peer, request_der: bytes, other_rsa_key: rsa.RSAPrivateKey, serial_number: int
) -> None:
    """Another key than the request's, CN=SCEP Protocol Certificate, a critical AKI, a negative serial number, expired at once."""
    client.world.configure(legacy=True)
    made = windows_throwaway_certificate(serial_number=serial_number)
    windows = client.signing_as(signer_of(made))
    certificate = windows.granted(windows.ask(request_der, suite=LEGACY))
    assert certificate.public_key() == client.key.public_key() != made.key.public_key()
    # Each attempt has another key, and gets the same certificate.
    again = Peer.stranger(client.world, other_rsa_key)
    assert again.granted(again.ask(request_der, suite=LEGACY)) == certificate


@pytest.mark.parametrize("year", [2001, 2041], ids=["expired", "not yet valid"])
def test_the_validity_of_a_throwaway_certificate_is_not_asked(client: Peer, request_der: bytes, year: int) -> None:
    """Clocks of phones are wrong before they are enrolled (jscep#157)."""
    model = client.signer.certificate
    builder = x509.CertificateBuilder(model.issuer, model.subject, client.key.public_key(), 1)
    builder = builder.not_valid_before(datetime(year, 1, 1, tzinfo=UTC)).not_valid_after(datetime(year + 1, 1, 1, tzinfo=UTC))
    odd = client.signing_as(Signer.of(builder.sign(client.key, hashes.SHA256()), client.key))
    assert odd.granted(odd.ask(request_der))


@pytest.mark.parametrize("signing_time", [b"900101000000Z", b"491231235959Z", b"no time"], ids=["long ago", "to come", "none"])
def test_a_signing_time_decides_nothing(client: Peer, request_der: bytes, signing_time: bytes) -> None:
    more = [attribute("1.2.840.113549.1.9.5", tlv.tlv(tlv.UTC_TIME, signing_time))]
    assert client.granted(client.ask(request_der, more=more))


def test_attributes_that_nobody_knows_are_passed_over(client: Peer, request_der: bytes) -> None:
    """jscep's samples have stray ones."""
    more = [attribute("2.16.840.1.113733.1.9.8", tlv.printable_string("stray")), attribute("1.2.3.4", tlv.sequence())]
    assert client.granted(client.ask(request_der, more=more))


@pytest.mark.parametrize("oaep", [Digest.SHA1, Digest.SHA256])
def test_a_request_in_ber_with_segments_all_the_way_is_granted(client: Peer, request_der: bytes, oaep: Digest) -> None:
    """Apple and jscep: the envelope and the message of indefinite length, OCTET STRINGs constructed."""
    suite = Suite(digest=Digest.SHA256, cipher=Cipher.AES256, key_transport=KeyTransport(oaep=oaep, mgf=oaep))
    inner = to_ber(client.sealed(request_der, suite), segment=64, implicit=True)
    sent = to_ber(client.signed(inner), segment=100, keep=[client.signer.certificate_der])
    assert client.granted(client.send(sent))


def test_a_recipient_named_by_its_key_identifier_is_us(client: Peer, request_der: bytes) -> None:
    ra = client.world.ra
    sealed = client.sealed(request_der)
    by_key = rebuilt(sealed, ra.issuer_and_serial, tlv.tlv(0x80, subject_key_identifier(ra.certificate)))
    assert by_key != sealed
    assert client.granted(client.send(client.signed(by_key)))


def test_a_recipient_whose_issuer_is_spelled_otherwise_is_us(client: Peer, request_der: bytes) -> None:
    """Clients encode names anew, with other string types."""
    sealed = client.sealed(request_der)
    issuer = client.world.ra.certificate.issuer.public_bytes()
    spelled = rebuilt(sealed, issuer, issuer.replace(b"\x0c", b"\x13"))
    assert spelled != sealed
    assert client.granted(client.send(client.signed(spelled)))


# --- renewals ---


def test_a_renewal_of_the_same_key_in_the_same_transaction_gets_a_new_certificate(client: Peer, request_der: bytes) -> None:
    """certmonger and micromdm keep both; an answer kept by transactionID alone would be the old certificate (sscep#189)."""
    client.world.configure(renew_after=0.0)
    first = client.granted(client.ask(request_der))
    holder = client.holding(first)
    renewed = holder.granted(holder.ask(certificate_request(client.key), message_type=MessageType.RENEWAL_REQ))
    assert renewed != first
    assert renewed.public_key() == first.public_key()
    # And the same request again, as certmonger's, challenge and all, in the same transaction.
    following = client.holding(renewed)
    assert following.granted(following.ask(request_der)) not in (first, renewed)


def test_another_request_in_the_same_transaction_is_another_request(client: Peer, request_der: bytes) -> None:
    alice = client.granted(client.ask(request_der))
    challenge = client.world.challenge(client.world.add_person("bob@example.com", "bob@example.com"))
    assert client.granted(client.ask(certificate_request(client.key, challenge))) != alice


# --- replies ---


def test_the_reason_in_words_has_the_registered_oid() -> None:
    """Not one of VeriSign's: 1.3.6.1.5.5.7.24.1 (RFC 8894 section 3.2.1.4.4)."""
    answer = reply.failure(RA, Exchange("1", b"n", Digest.SHA256), FailInfo.BAD_REQUEST, "no")
    (value,) = read_signed_data(answer).attributes["1.3.6.1.5.5.7.24.1"]
    assert (value.tag_bytes, bytes(value.data)) == (b"\x0c", b"no")


def test_the_attributes_have_the_registered_oids() -> None:
    answer = reply.failure(RA, Exchange("1", b"n", Digest.SHA256), FailInfo.BAD_REQUEST, "no")
    verisign = {f"2.16.840.1.113733.1.9.{number}" for number in range(2, 8)}
    assert verisign < set(read_signed_data(answer).attributes)


@pytest.mark.parametrize("fault", [KeyUnavailable("the token is gone")])
def test_a_fault_that_may_pass_is_pending_and_not_a_failure(
    client: Peer, request_der: bytes, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """After FAILURE a client gives up, Apple's among them; and the poll has a nonce of its own to be answered."""

    def build(*_arguments: object, **_options: object) -> object:
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr("ca.issuance.build", build)
        pending = client.ask(request_der, nonce=b"1" * 16)
        assert (pending.pki_status, pending.recipient_nonce) == (PkiStatus.PENDING, b"1" * 16)
        # An empty eContent, not an absent one: "PKCS7 routines::no content" says certmonger.
        assert bytes.fromhex("300f06092a864886f70d010701a0020400") in walk(client.post(client.signed(client.sealed(request_der))))
        polled = client.ask(b"\x30\x04\x30\x00\x30\x00", message_type=MessageType.CERT_POLL, nonce=b"2" * 16)
        assert (polled.pki_status, polled.recipient_nonce) == (PkiStatus.PENDING, b"2" * 16)
    granted = client.ask(b"\x30\x04\x30\x00\x30\x00", message_type=MessageType.CERT_POLL, nonce=b"3" * 16)
    assert granted.recipient_nonce == b"3" * 16
    assert client.granted(granted).public_key() == client.key.public_key()


def test_a_challenge_is_not_burnt_by_a_request_that_fails(client: Peer) -> None:
    challenge = client.world.challenge(client.world.add_person())
    wrong = certificate_request(client.key, challenge, x509.SubjectAlternativeName([x509.DNSName("x.example")]))
    assert client.ask(wrong).pki_status == PkiStatus.FAILURE
    assert client.granted(client.ask(certificate_request(client.key, challenge, subject=named("again"))))


def test_a_failure_has_the_type_of_a_success_and_status_200(http: httpx2.Client, client: Peer) -> None:
    sent = client.signed(client.sealed(certificate_request(client.key, "WRONG")))
    answer = http.post("/scep/default?operation=PKIOperation", content=sent)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-pki-message")
    assert message.parse(answer.content).pki_status == PkiStatus.FAILURE
