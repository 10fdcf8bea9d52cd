"""Who gets a certificate, under which names, and what is stored of it."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID
from sqlalchemy import select, update
from sqlmodel import Session, col

from audit.records import AuditEvent
from ca.certified import names_in
from ca.issuance import IssuedCertificate
from ca.records import Certificate
from ca.revocation import RevocationReason, revoke
from foundation.transactions import Result
from people.devices import deactivate_device
from people.persons import deactivate_person
from scep import message
from scep.algorithms import Cipher, Digest, KeyTransport, Suite
from scep.client import Identity, build_csr, named, throwaway_signer
from scep.errors import EnrolmentRefused, FailInfo
from scep.message import MessageType
from scep.records import Challenge
from signetry.database import Database
from tests.clocks import ManualClock
from tests.scep.world import ACTOR, World


def csr_with(key: rsa.RSAPrivateKey, challenge: str, *extensions: x509.ExtensionType) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]))
    builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256())


def refusal(
    world: World, key: rsa.RSAPrivateKey, challenge: str, csr: x509.CertificateSigningRequest | None = None
) -> EnrolmentRefused:
    with pytest.raises(EnrolmentRefused) as caught:
        world.enrol(key, challenge, csr=csr)
    return caught.value


def test_a_challenge_obtains_its_persons_certificate_whatever_the_request_is_called(
    both_worlds: World, rsa_key: rsa.RSAPrivateKey
) -> None:
    alice = both_worlds.add_person(aliases=("a.smith@example.com",))
    identity = both_worlds.enrol(rsa_key, both_worlds.challenge(alice))
    certificate = identity.certificate
    assert certificate.subject.rfc4514_string() == "CN=Alice Smith"
    assert names_in(certificate).upn == "alice@example.com"
    assert names_in(certificate).emails == ("alice@example.com",)
    assert both_worlds.counts() == {"certificates": 1, "enrolments": 1, "refusals": 0}
    with both_worlds.transactions.reading() as session:
        row = session.execute(
            select(Certificate).where(col(Certificate.serial) == f"{certificate.serial_number:032x}")
        ).scalar_one()
        assert (row.person_id, row.profile, row.der) == (alice.id, "identity", certificate.public_bytes(Encoding.DER))
        event = session.execute(select(AuditEvent).where(col(AuditEvent.subject) == f"certificate:{row.serial}")).scalar_one()
        assert (event.actor, event.origin, event.details["person"]) == ("scep:default", "192.0.2.1", alice.id)


def test_a_challenge_is_spent_once(both_worlds: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey) -> None:
    challenge = both_worlds.challenge(both_worlds.add_person())
    both_worlds.enrol(rsa_key, challenge)
    error = refusal(both_worlds, other_rsa_key, challenge)
    assert error.fail_info == FailInfo.BAD_REQUEST
    assert both_worlds.counts() == {"certificates": 1, "enrolments": 1, "refusals": 1}


def test_many_at_once_with_one_challenge_get_one_certificate(
    both_worlds: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    challenge = both_worlds.challenge(both_worlds.add_person())

    def attempt(number: int) -> Identity | None:
        key = (rsa_key, other_rsa_key)[number % 2]
        try:
            return both_worlds.enrol(key, challenge, csr=build_csr(key, f"attempt {number}", challenge))
        except EnrolmentRefused:
            return None

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(attempt, range(6)))
    # Whoever has the key of the one that was first gets the same certificate.
    assert len({outcome.certificate for outcome in outcomes if outcome is not None}) == 1
    assert both_worlds.counts()["certificates"] == 1


def test_an_identical_retry_gets_the_same_certificate(both_worlds: World, rsa_key: rsa.RSAPrivateKey) -> None:
    challenge = both_worlds.challenge(both_worlds.add_person())
    csr = build_csr(rsa_key, "x", challenge)
    first = both_worlds.enrol(rsa_key, challenge, csr=csr)
    assert both_worlds.enrol(rsa_key, challenge, csr=csr).certificate == first.certificate
    assert both_worlds.counts() == {"certificates": 1, "enrolments": 1, "refusals": 0}


def test_identical_requests_at_once_get_the_same_certificate(both_worlds: World, rsa_key: rsa.RSAPrivateKey) -> None:
    challenge = both_worlds.challenge(both_worlds.add_person())
    csr = build_csr(rsa_key, "x", challenge)
    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(lambda _: both_worlds.enrol(rsa_key, challenge, csr=csr).certificate, range(6)))
    assert len(set(outcomes)) == 1
    assert both_worlds.counts()["certificates"] == 1


def test_a_retry_gets_no_certificate_back_that_was_revoked_since(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    challenge = world.challenge(world.add_person())
    csr = build_csr(rsa_key, "x", challenge)
    identity = world.enrol(rsa_key, challenge, csr=csr)
    revoke_certificate(world, identity)
    assert "revoked" in str(refusal(world, rsa_key, challenge, csr))


def test_a_retry_gets_no_certificate_back_that_has_expired_since(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    challenge = world.challenge(world.add_person())
    csr = build_csr(rsa_key, "x", challenge)
    world.enrol(rsa_key, challenge, csr=csr)
    world.clock.advance(days=366)
    assert "expired" in str(refusal(world, rsa_key, challenge, csr))


class Watched:
    """A store in which nothing may be written by who is reading."""

    def __init__(self, store: Database) -> None:
        self._store = store
        self._readers = 0

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads."""
        self._readers += 1
        try:
            with self._store.reading() as session:
                yield session
        finally:
            self._readers -= 1

    def write(self, act: Callable[[Session], Result]) -> Result:
        """Run ``act`` in a transaction."""
        return self.submit(act).result()

    def submit(self, act: Callable[[Session], Result]) -> Future[Result]:
        """Run ``act`` in a transaction, waiting for nothing."""
        assert self._readers == 0
        return self._store.submit(act)


def test_nobody_waits_for_a_writer_while_holding_a_connection(
    sqlite_store: Database, clock: ManualClock, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    """Readers and writers draw from one pool on PostgreSQL: refusals, all at once, would leave the writer none."""
    world = World(Watched(sqlite_store), clock)
    challenge = world.challenge(world.add_person())
    world.enrol(rsa_key, challenge)
    assert "not valid here" in str(refusal(world, other_rsa_key, challenge))
    assert world.counts()["refusals"] == 1


def revoke_certificate(world: World, identity: Identity) -> None:
    def act(session: Session) -> None:
        serial = f"{identity.certificate.serial_number:032x}"
        number = session.execute(select(col(Certificate.id)).where(col(Certificate.serial) == serial)).scalar_one()
        revoke(session, [number], RevocationReason.KEY_COMPROMISE, actor=ACTOR, now=world.clock.now())

    world.transactions.write(act)


@pytest.mark.parametrize("presented", ["", "WRONG", "expired", "of another endpoint"])
def test_without_a_live_challenge_of_the_endpoint_nothing_is_issued(
    world: World, rsa_key: rsa.RSAPrivateKey, presented: str
) -> None:
    alice = world.add_person()
    if presented == "expired":
        presented = world.challenge(alice)
        world.clock.advance(hours=1)
    elif presented == "of another endpoint":
        presented = world.challenge(alice, endpoint="other")
    error = refusal(world, rsa_key, presented)
    assert str(error).endswith("the challenge password is missing or not valid here")
    assert world.counts()["certificates"] == 0


SAN = x509.SubjectAlternativeName


@pytest.mark.parametrize(
    ("extension", "named"),
    [
        (SAN([x509.RFC822Name("bob@example.com")]), "mail address bob@example.com"),
        (
            SAN([x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x0fbob@example.com")]),
            "UPN bob@example.com",
        ),
        (SAN([x509.DNSName("dc1.example.com")]), "DNS name dc1.example.com"),
        (SAN([x509.UniformResourceIdentifier("urn:x:y")]), "URI urn:x:y"),
        (
            x509.UnrecognizedExtension(
                x509.ObjectIdentifier("1.3.6.1.4.1.311.25.2"),
                bytes.fromhex("301ca01a060a2b060104018237190201a00c040a") + b"S-1-5-21-5",
            ),
            "SID S-1-5-21-5",
        ),
        (x509.BasicConstraints(ca=True, path_length=None), "CA:true"),
    ],
    ids=["mail", "UPN", "DNS", "URI", "SID", "CA"],
)
def test_a_name_that_is_not_the_persons_is_refused_by_name_and_the_challenge_stays_usable(
    world: World, rsa_key: rsa.RSAPrivateKey, extension: x509.ExtensionType, named: str
) -> None:
    challenge = world.challenge(world.add_person())
    error = refusal(world, rsa_key, challenge, csr_with(rsa_key, challenge, extension))
    assert error.fail_info == FailInfo.BAD_REQUEST
    assert named in str(error)
    assert world.counts() == {"certificates": 0, "enrolments": 0, "refusals": 1}
    assert names_in(world.enrol(rsa_key, challenge).certificate).upn == "alice@example.com"


def test_the_names_of_somebody_else_are_not_obtained_with_ones_own_challenge(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    """CERT VU#971035."""
    world.add_person("bob@example.com", "bob@example.com")
    challenge = world.challenge(world.add_person())
    wanted = SAN([x509.RFC822Name("bob@example.com")])
    assert "bob@example.com" in str(refusal(world, rsa_key, challenge, csr_with(rsa_key, challenge, wanted)))


def test_requested_usages_change_nothing(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    challenge = world.challenge(world.add_person())
    wanted = csr_with(
        rsa_key,
        challenge,
        x509.KeyUsage(
            digital_signature=False,
            content_commitment=True,
            key_encipherment=False,
            data_encipherment=True,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        ),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]),
        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.311.21.10"), b"\x30\x00"),
    )
    certificate = world.enrol(rsa_key, challenge, csr=wanted).certificate
    plain = world.enrol(rsa_key, world.challenge(world.add_person("bob@example.com", "bob@example.com"))).certificate
    for kind in (x509.KeyUsage, x509.ExtendedKeyUsage, x509.BasicConstraints):
        found = [extension.value for extension in certificate.extensions if isinstance(extension.value, kind)]
        assert found == [extension.value for extension in plain.extensions if isinstance(extension.value, kind)]
    assert {extension.oid for extension in certificate.extensions} == {extension.oid for extension in plain.extensions}


def test_a_weak_key_is_refused_and_the_challenge_stays_usable(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    challenge = world.challenge(world.add_person())
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - weak on purpose
    assert "2048 to 8192 bits" in str(refusal(world, weak, challenge))
    assert world.counts()["certificates"] == 0
    world.enrol(rsa_key, challenge)


def test_somebody_deactivated_gets_nothing(both_worlds: World, rsa_key: rsa.RSAPrivateKey) -> None:
    alice = both_worlds.add_person()
    challenge = both_worlds.challenge(alice)
    both_worlds.transactions.write(lambda session: deactivate_person(session, alice.id, actor=ACTOR, now=both_worlds.clock.now()))
    assert "the person is not active" in str(refusal(both_worlds, rsa_key, challenge))
    assert both_worlds.counts()["certificates"] == 0


def test_a_device_that_was_lost_gets_nothing(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    phone = world.add_device()
    challenge = world.challenge(world.add_person(), device=phone)
    world.transactions.write(lambda session: deactivate_device(session, phone.id, actor=ACTOR, now=world.clock.now()))
    assert "the device is not active" in str(refusal(world, rsa_key, challenge))


def test_a_device_is_certified_under_its_own_names(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    router = world.add_device("router-7", dns_name="router-7.example.com", mdm_id="0b7bdd6d-9c7a-4b8c-8a26-0f4f1f1e9f55")
    certificate = world.enrol(rsa_key, world.challenge(None, profile="device", device=router)).certificate
    assert certificate.subject.rfc4514_string() == "CN=router-7"
    assert names_in(certificate).dns_names == ("router-7.example.com",)


def test_organisational_units_come_from_the_request_only_where_the_endpoint_says_so(
    world: World, rsa_key: rsa.RSAPrivateKey
) -> None:
    alice = world.add_person()

    def subject() -> str:
        challenge = world.challenge(alice)
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "mdm-4711")])
        builder = x509.CertificateSigningRequestBuilder(name)
        csr = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode()).sign(rsa_key, hashes.SHA256())
        return world.enrol(rsa_key, challenge, csr=csr).certificate.subject.rfc4514_string()

    assert subject() == "CN=Alice Smith"
    world.configure(subject_from_request=frozenset({"OU"}))
    assert subject() == "CN=Alice Smith,OU=mdm-4711"


def test_an_organisational_unit_with_control_characters_is_passed_over(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    world.configure(subject_from_request=frozenset({"OU"}))
    challenge = world.challenge(world.add_person())
    units = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in ("mdm\0-1", "mdm\n-2", "mdm-3")]
    builder = x509.CertificateSigningRequestBuilder(x509.Name(units))
    csr = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode()).sign(rsa_key, hashes.SHA256())
    assert world.enrol(rsa_key, challenge, csr=csr).certificate.subject.rfc4514_string() == "CN=Alice Smith,OU=mdm-3"


def test_what_is_owed_for_a_certificate_is_owed_in_its_transaction(
    sqlite_store: Database, clock: ManualClock, rsa_key: rsa.RSAPrivateKey
) -> None:
    """A listener that fails takes certificate and redemption with it."""
    fails = [True]

    def listener(session: Session, issued: IssuedCertificate) -> None:
        session.execute(update(Certificate).where(col(Certificate.id) == issued.id).values(subject="owed"))
        if fails.pop():
            raise RuntimeError("the listener failed")

    world = World(sqlite_store, clock, listeners=(listener,))
    challenge = world.challenge(world.add_person())
    assert "log reference" in str(refusal(world, rsa_key, challenge))
    assert world.counts()["certificates"] == 0
    fails.append(False)
    world.enrol(rsa_key, challenge)
    with world.transactions.reading() as session:
        assert session.execute(select(col(Certificate.subject)).order_by(col(Certificate.id).desc())).scalars().first() == "owed"
        assert session.execute(select(col(Challenge.redeemed_at))).scalar_one() is not None


def test_a_key_too_small_for_its_own_key_transport_is_refused_before_anything_is_issued(
    world: World, rsa_key: rsa.RSAPrivateKey
) -> None:
    challenge = world.challenge(world.add_person())
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505 - a throwaway signer's
    request = message.build_request(
        throwaway_signer(small, named("signer")),
        world.ra.certificate,
        build_csr(rsa_key, "x", challenge).public_bytes(Encoding.DER),
        message_type=MessageType.PKCS_REQ,
        transaction_id="1",
        sender_nonce=message.new_nonce(),
        suite=Suite(Digest.SHA256, Cipher.AES128, KeyTransport(oaep=Digest.SHA512)),
    )
    answer = message.parse(world.responder.pki_operation("default", request, origin="192.0.2.1"))
    assert (answer.pki_status, answer.fail_info) == (2, FailInfo.BAD_ALG)
    assert world.counts()["certificates"] == 0
