"""Renewal: the old certificate speaks for its holder, within its window and its names."""

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, NameOID

from ca.certified import names_in
from people.devices import deactivate_device
from people.persons import change_person, deactivate_person, get_person
from scep import message
from scep.algorithms import Cipher, Digest, Suite
from scep.client import Identity
from scep.errors import EnrolmentRefused, FailInfo
from scep.message import MessageType
from scep.signing import Signer
from tests.scep.test_enrolment import revoke_certificate
from tests.scep.world import ACTOR, World


def refusal(world: World, held: Identity, key: rsa.RSAPrivateKey, endpoint: str = "default") -> EnrolmentRefused:
    with pytest.raises(EnrolmentRefused) as caught:
        world.renew(held, key, endpoint)
    return caught.value


@pytest.fixture
def held(world: World, rsa_key: rsa.RSAPrivateKey) -> Identity:
    """Alice's certificate, in its renewal window."""
    world.configure(renew_after=0.0)
    world.configure("other", renew_after=0.0)
    alice = world.add_person(aliases=("a.smith@example.com",), sid="S-1-5-21-1-2-3-1104")
    return world.enrol(rsa_key, world.challenge(alice, profile="mail-all-in-one"))


@pytest.mark.parametrize("new_key", [True, False], ids=["new key", "same key"])
def test_a_renewal_carries_the_same_names_and_profile_over_to_its_key(
    world: World, held: Identity, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey, *, new_key: bool
) -> None:
    key = other_rsa_key if new_key else rsa_key
    renewed = world.renew(held, key).certificate
    assert renewed.public_key() == key.public_key()
    assert renewed.serial_number != held.certificate.serial_number
    assert renewed.subject == held.certificate.subject
    assert names_in(renewed) == names_in(held.certificate)
    assert world.counts()["certificates"] == 2


def test_a_renewal_waits_for_its_window(world: World, held: Identity, other_rsa_key: rsa.RSAPrivateKey) -> None:
    world.configure(renew_after=0.66)
    world.clock.advance(days=240)
    assert "may be renewed from 2027-01-" in str(refusal(world, held, other_rsa_key))
    world.clock.advance(days=1)
    assert world.renew(held, other_rsa_key).certificate.serial_number != held.certificate.serial_number


def test_an_expired_certificate_renews_nothing(world: World, held: Identity, other_rsa_key: rsa.RSAPrivateKey) -> None:
    world.clock.advance(days=366)
    assert "has expired" in str(refusal(world, held, other_rsa_key))


def test_a_revoked_certificate_renews_nothing(world: World, held: Identity, other_rsa_key: rsa.RSAPrivateKey) -> None:
    revoke_certificate(world, held)
    assert "is revoked" in str(refusal(world, held, other_rsa_key))
    assert world.counts() == {"certificates": 1, "enrolments": 1, "refusals": 1}


def test_a_certificate_renews_at_its_own_endpoint_only(world: World, held: Identity, other_rsa_key: rsa.RSAPrivateKey) -> None:
    assert "not enrolled at this endpoint" in str(refusal(world, held, other_rsa_key, "other"))


def test_a_profile_that_the_endpoint_gave_up_is_not_renewed(
    world: World, held: Identity, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    world.configure(profiles=frozenset({"identity"}))
    assert "no longer issues mail-all-in-one" in str(refusal(world, held, other_rsa_key))


def test_somebody_deactivated_renews_nothing(world: World, held: Identity, other_rsa_key: rsa.RSAPrivateKey) -> None:
    world.transactions.write(lambda session: deactivate_person(session, 1, actor=ACTOR, now=world.clock.now()))
    assert "the person is not active" in str(refusal(world, held, other_rsa_key))


def test_a_lost_device_renews_nothing(world: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey) -> None:
    world.configure(renew_after=0.0)
    phone = world.add_device()
    held = world.enrol(rsa_key, world.challenge(world.add_person(), device=phone))
    world.transactions.write(lambda session: deactivate_device(session, phone.id, actor=ACTOR, now=world.clock.now()))
    assert "the device is not active" in str(refusal(world, held, other_rsa_key))


def change(world: World, **fields: object) -> None:
    def act(session: object) -> None:
        person = get_person(session, 1)  # type: ignore[arg-type]
        change_person(session, 1, replace(person.fields, **fields), actor=ACTOR, now=world.clock.now())  # type: ignore[arg-type]

    world.transactions.write(act)


def test_a_renewal_loses_names_that_the_record_lost_and_gains_none(
    world: World, held: Identity, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    change(world, aliases=("new@example.com",))
    assert names_in(world.renew(held, other_rsa_key).certificate).emails == ("alice@example.com",)


def test_a_display_name_is_todays(world: World, held: Identity, other_rsa_key: rsa.RSAPrivateKey) -> None:
    change(world, display_name="Alice Jones")
    assert world.renew(held, other_rsa_key).certificate.subject.rfc4514_string() == "CN=Alice Jones"


@pytest.mark.parametrize(("field", "value"), [("upn", "alice.jones@example.com"), ("sid", "S-1-5-21-1-2-3-2207")])
def test_another_account_is_not_reached_by_renewal(
    world: World, held: Identity, other_rsa_key: rsa.RSAPrivateKey, field: str, value: str
) -> None:
    change(world, **{field: value})
    assert f"the person's {field.upper()} has changed" in str(refusal(world, held, other_rsa_key))


def test_a_sid_that_the_record_gained_is_not_added_by_renewal(
    world: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    world.configure(renew_after=0.0)
    held = world.enrol(rsa_key, world.challenge(world.add_person()))
    change(world, sid="S-1-5-21-1-2-3-1104")
    assert names_in(world.renew(held, other_rsa_key).certificate).sid == ""


def send(
    world: World, held: Identity, key: rsa.RSAPrivateKey, message_type: MessageType, challenge: str | None
) -> message.ReceivedMessage:
    """Send a request signed with ``held``, its CSR carrying ``challenge``; return the server's answer."""
    builder = x509.CertificateSigningRequestBuilder(held.certificate.subject)
    if challenge is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    request = message.build_request(
        Signer.of(held.certificate, held.private_key),
        world.ra.certificate,
        builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER),
        message_type=message_type,
        transaction_id="1",
        sender_nonce=message.new_nonce(),
        suite=Suite(digest=Digest.SHA256, cipher=Cipher.AES128),
    )
    return message.parse(world.responder.pki_operation("default", request, origin="192.0.2.1"))


@pytest.mark.parametrize("message_type", [MessageType.RENEWAL_REQ, MessageType.PKCS_REQ])
@pytest.mark.parametrize("challenge", [None, ""], ids=["no challenge", "blank challenge"])
def test_either_message_type_renews_when_signed_with_the_old_certificate(
    world: World, held: Identity, other_rsa_key: rsa.RSAPrivateKey, message_type: MessageType, challenge: str | None
) -> None:
    """Sscep and Cisco renew with a PKCSReq (facts/scep.md section 3)."""
    assert send(world, held, other_rsa_key, message_type, challenge).pki_status == 0


@pytest.mark.parametrize("message_type", [MessageType.RENEWAL_REQ, MessageType.PKCS_REQ])
def test_a_wrong_challenge_fails_a_renewal(
    world: World, held: Identity, other_rsa_key: rsa.RSAPrivateKey, message_type: MessageType
) -> None:
    answer = send(world, held, other_rsa_key, message_type, "WRONG")
    assert (answer.pki_status, answer.fail_info) == (2, FailInfo.BAD_REQUEST)


def test_the_holders_own_spent_challenge_does_not_fail_a_renewal(
    world: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    """Certmonger repeats the challenge of the enrolment in every renewal."""
    world.configure(renew_after=0.0)
    challenge = world.challenge(world.add_person())
    held = world.enrol(rsa_key, challenge)
    assert send(world, held, other_rsa_key, MessageType.PKCS_REQ, challenge).pki_status == 0


def test_somebody_elses_spent_challenge_fails_a_renewal(world: World, held: Identity, other_rsa_key: rsa.RSAPrivateKey) -> None:
    theirs = world.challenge(world.add_person("bob@example.com", "bob@example.com"))
    world.enrol(other_rsa_key, theirs)
    assert send(world, held, other_rsa_key, MessageType.PKCS_REQ, theirs).pki_status == 2


def test_a_fresh_challenge_renews_ahead_of_the_window(world: World, held: Identity, other_rsa_key: rsa.RSAPrivateKey) -> None:
    """MacOS and Intune renew with one."""
    world.configure(renew_after=0.9)
    fresh = world.challenge(world.add_person("bob@example.com", "bob@example.com"))
    answer = send(world, held, other_rsa_key, MessageType.RENEWAL_REQ, fresh)
    assert answer.pki_status == 0


def test_a_fresh_challenge_counts_though_the_old_certificate_is_revoked(
    world: World, held: Identity, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    """Who lost trust and got a new challenge signs, as ever, with what the device has."""
    revoke_certificate(world, held)
    fresh = world.challenge(world.add_person("bob@example.com", "bob@example.com"))
    assert send(world, held, other_rsa_key, MessageType.PKCS_REQ, fresh).pki_status == 0


def test_a_renewal_signed_by_a_stranger_is_a_bad_certificate_id(
    world: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    subject = x509.Name([])
    stranger = (
        x509.CertificateBuilder(world.authority.certificate.subject, subject, rsa_key.public_key(), 77)
        .not_valid_before(world.clock.now())
        .not_valid_after(world.clock.advance(days=1))
        .sign(rsa_key, hashes.SHA256())
    )
    answer = send(world, Identity(stranger, rsa_key), other_rsa_key, MessageType.RENEWAL_REQ, None)
    assert answer.fail_info == FailInfo.BAD_CERT_ID


def test_a_forged_certificate_with_a_real_serial_number_renews_nothing(
    world: World, held: Identity, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    real = held.certificate
    forged = (
        x509.CertificateBuilder(real.issuer, real.subject, other_rsa_key.public_key(), real.serial_number)
        .not_valid_before(real.not_valid_before_utc)
        .not_valid_after(real.not_valid_after_utc)
        .sign(other_rsa_key, hashes.SHA256())
    )
    answer = send(world, Identity(forged, other_rsa_key), other_rsa_key, MessageType.RENEWAL_REQ, None)
    assert answer.fail_info == FailInfo.BAD_CERT_ID
    assert world.counts()["certificates"] == 1


def test_a_renewal_keeps_the_organisational_units_where_the_endpoint_takes_any(
    world: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    """A management system reads its own number back from there, from every certificate."""
    world.configure(subject_from_request=frozenset({"OU"}), renew_after=0)
    challenge = world.challenge(world.add_person())
    unit = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "mdm-4711")])
    builder = x509.CertificateSigningRequestBuilder(unit)
    csr = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode()).sign(rsa_key, hashes.SHA256())
    held = world.enrol(rsa_key, challenge, csr=csr)
    assert world.renew(held, other_rsa_key).certificate.subject.rfc4514_string() == "CN=Alice Smith,OU=mdm-4711"
    world.configure(subject_from_request=frozenset())
    assert world.renew(held, rsa_key).certificate.subject.rfc4514_string() == "CN=Alice Smith"
