"""The policy ``intune`` at an endpoint, before a tenant that refuses anything that is not documented."""

from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import URL, select, update
from sqlmodel import Session, col

from audit.records import AuditEvent
from ca import revocation
from ca.authorisation import ProfileName
from ca.certified import names_in
from ca.issuance import IssuedCertificate
from ca.records import Certificate
from ca.revocation import RevocationReason, RevokedCertificate
from foundation.errors import SignetryError, Unavailable
from intune.scep_validation import ScepValidation
from intune.transport import Transport
from people.devices import deactivate_device
from people.person import PersonRecord
from people.persons import deactivate_person
from scep import withheld
from scep.client import Identity
from scep.enrolment import Enroller
from scep.errors import EnrolmentRefused, FailInfo
from scep.message import MessageType
from scep.policies.intune import FailureCode, Intune
from scep.records import Enrolment
from signetry.database import Database
from tests.clocks import ManualClock
from tests.daemons.directories.tls import ServerTls
from tests.intune.requests import CHALLENGE, request_for, upn
from tests.intune.server import Cloud, Reply, cloud_tls, code, running_cloud
from tests.intune.tenants import PassingTicker, tenant_of
from tests.scep.peers import Peer
from tests.scep.world import ACTOR, World

DEVICE = "b6f1d0a2-3c58-4f0b-9a0e-6d9c3f1f2a10"
SID = "S-1-5-21-1004336348-1177238915-682003330-512"


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    return cloud_tls(tmp_path_factory.mktemp("cloud-tls"))


@pytest.fixture
def cloud(tls: ServerTls) -> Iterator[Cloud]:
    with running_cloud(tls) as running:
        yield running
    assert running.violations == []


class Tenancy:
    """An endpoint of the policy, and everybody who is told what."""

    def __init__(self, store: Database, clock: ManualClock, validation: ScepValidation) -> None:
        self.world = World(store, clock)
        self.clock = clock
        self.validation = validation
        self.announced: list[int] = []
        self.revoked: list[str] = []
        self.offer("identity")

    def offer(self, profile: str) -> None:
        """Issue under this profile from now on."""
        self.world.configure(profiles=frozenset({ProfileName(profile)}))
        self.world.enroller = Enroller(
            self.world.transactions,
            self.clock,
            policies={"default": Intune(self.validation, ProfileName(profile))},
            listeners=(self._issued,),
        )

    def _issued(self, _session: Session, issued: IssuedCertificate) -> None:
        self.announced.append(issued.id)

    def sweep(self) -> int:
        """Do what the worker does with what nobody came back for."""

        def revoke(session: Session, ids: object) -> None:
            revocation.revoke(
                session,
                list(ids),  # type: ignore[call-overload] # a sequence of ids
                RevocationReason.CESSATION_OF_OPERATION,
                actor=ACTOR,
                now=self.clock.now(),
                listeners=(self._revoked,),
            )

        return withheld.revoke_overdue(self.world.transactions, self.clock, revoke)

    def _revoked(self, _session: Session, state: RevokedCertificate) -> None:
        self.revoked.append(state.serial)

    def enrol(self, csr: x509.CertificateSigningRequest, key: rsa.RSAPrivateKey) -> Identity:
        """Enrol with our client."""
        return self.world.enrol(key, "", csr=csr)

    def certificates(self) -> list[Certificate]:
        """Return what was issued to persons and devices."""
        query = select(Certificate).where(col(Certificate.profile).in_(["identity", "device"]))
        with self.world.transactions.reading() as session:
            found = session.execute(query).scalars().all()
            session.expunge_all()
        return list(found)

    def is_withheld(self) -> list[bool]:
        """Return of each enrolment whether its certificate is withheld."""
        with self.world.transactions.reading() as session:
            return [each is not None for each in session.execute(select(col(Enrolment.withheld_until))).scalars()]


@pytest.fixture
def tenancy(store: Database, clock: ManualClock, cloud: Cloud, tls: ServerTls) -> Iterator[Tenancy]:
    with Transport(ca_file=tls.ca, ticker=PassingTicker()) as transport:
        yield Tenancy(store, clock, ScepValidation.of(tenant_of(cloud), transport))


@pytest.fixture
def alice(tenancy: Tenancy) -> PersonRecord:
    return tenancy.world.add_person(aliases=("a.smith@example.com",), sid=SID)


def refusal(tenancy: Tenancy, csr: x509.CertificateSigningRequest, key: rsa.RSAPrivateKey) -> EnrolmentRefused:
    with pytest.raises(EnrolmentRefused) as caught:
        tenancy.enrol(csr, key)
    return caught.value


# --- granted ---


def test_whom_intune_vouches_for_and_our_records_know_gets_a_certificate_of_that_persons_names(
    tenancy: Tenancy, cloud: Cloud, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey
) -> None:
    csr = request_for(rsa_key, upn("Alice@Example.com"), x509.RFC822Name("a.smith@example.com"))
    identity = tenancy.enrol(csr, rsa_key)
    names = names_in(identity.certificate)
    assert (names.upn, names.emails) == ("alice@example.com", ("alice@example.com",))
    (certificate,) = tenancy.certificates()
    assert certificate.person_id == alice.id
    assert [each.action for each in cloud.received] == ["validateRequest", "successNotification"]
    assert [each.csr for each in cloud.received] == [csr, csr]
    assert len({each.content["transactionId"] for each in cloud.received}) == 1
    told = cloud.of("successNotification")[0]
    assert told["certificateThumbprint"] == identity.certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303
    assert told["certificateSerialNumber"] == certificate.serial
    assert told["issuingCertificateAuthority"] == identity.certificate.issuer.rfc4514_string()
    assert told["caConfiguration"] == "issuing"


@pytest.mark.parametrize("name", [x509.RFC822Name("A.Smith@example.com"), upn("alice@example.com")], ids=["alias", "upn"])
def test_a_mail_address_or_a_upn_finds_the_person(
    tenancy: Tenancy, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey, name: x509.GeneralName
) -> None:
    tenancy.enrol(request_for(rsa_key, name), rsa_key)
    assert tenancy.certificates()[0].person_id == alice.id


def test_the_persons_sid_may_be_asked_for_in_either_form(
    tenancy: Tenancy, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey
) -> None:
    assert alice.sid == SID
    sid = x509.UniformResourceIdentifier(f"tag:microsoft.com,2022-09-14:sid:{SID}")
    tenancy.enrol(request_for(rsa_key, upn("alice@example.com"), sid), rsa_key)


def test_the_persons_device_is_found_by_the_number_that_intune_has_for_it(
    tenancy: Tenancy, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    phone = tenancy.world.add_device(owner=alice.upn, mdm_id=DEVICE.upper())
    uri = x509.UniformResourceIdentifier(f"urn:uuid:{DEVICE}")
    tenancy.enrol(request_for(rsa_key, upn("alice@example.com"), uri), rsa_key)
    tenancy.enrol(request_for(other_rsa_key, upn("alice@example.com"), common_name=DEVICE), other_rsa_key)
    assert [each.device_id for each in tenancy.certificates()] == [phone.id, phone.id]


def test_shared_equipment_is_certified_as_itself(tenancy: Tenancy, rsa_key: rsa.RSAPrivateKey) -> None:
    tenancy.offer("device")
    kiosk = tenancy.world.add_device("kiosk", mdm_id=DEVICE, dns_name="kiosk.example.com")
    names = (x509.UniformResourceIdentifier(f"urn:uuid:{DEVICE}"), x509.DNSName("kiosk.example.com"))
    tenancy.enrol(request_for(rsa_key, *names), rsa_key)
    (certificate,) = tenancy.certificates()
    assert (certificate.person_id, certificate.device_id) == (None, kiosk.id)


def test_an_identical_retry_gets_the_same_certificate_and_asks_nobody(
    tenancy: Tenancy, cloud: Cloud, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey
) -> None:
    del alice
    csr = request_for(rsa_key, upn("alice@example.com"))
    first = tenancy.enrol(csr, rsa_key)
    assert tenancy.enrol(csr, rsa_key).certificate == first.certificate
    assert len(cloud.received) == 2
    assert len(tenancy.announced) == 1


def test_a_renewal_with_a_fresh_challenge_is_asked_about_like_any_other(
    tenancy: Tenancy, cloud: Cloud, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    del alice
    tenancy.enrol(request_for(rsa_key, upn("alice@example.com")), rsa_key)
    tenancy.enrol(request_for(other_rsa_key, upn("alice@example.com"), challenge="another of Intune's"), other_rsa_key)
    assert len(cloud.of("validateRequest")) == len(cloud.of("successNotification")) == 2


# --- refused by Intune ---


def test_whom_intune_does_not_vouch_for_gets_nothing_and_a_failure_that_says_so(
    tenancy: Tenancy, cloud: Cloud, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey
) -> None:
    del alice
    cloud.answer("validateRequest", code("ChallengeExpired"))
    refused = refusal(tenancy, request_for(rsa_key, upn("alice@example.com")), rsa_key)
    assert refused.fail_info == FailInfo.BAD_REQUEST
    assert "ChallengeExpired" in str(refused)
    assert tenancy.certificates() == []
    # It knows already.
    assert cloud.of("failureNotification") == []


def test_nobody_is_asked_about_a_request_without_a_challenge(
    tenancy: Tenancy, cloud: Cloud, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey
) -> None:
    del alice
    assert "challenge password" in str(refusal(tenancy, request_for(rsa_key, upn("alice@example.com"), challenge=""), rsa_key))
    assert cloud.received == []


@pytest.mark.parametrize(
    "reply", [Reply(500), Reply(429), Reply(401), Reply(403), Reply(200, b"{")], ids=lambda reply: reply.status
)
def test_what_is_no_verdict_is_no_failure_either(
    tenancy: Tenancy, cloud: Cloud, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey, reply: Reply
) -> None:
    del alice
    cloud.answer("validateRequest", reply, reply)
    with pytest.raises(Unavailable):
        tenancy.enrol(request_for(rsa_key, upn("alice@example.com")), rsa_key)
    assert tenancy.certificates() == []
    assert cloud.of("failureNotification") == []


# --- refused by us ---


def test_a_validated_request_for_nobody_of_ours_is_refused_and_intune_learns_why(
    tenancy: Tenancy, cloud: Cloud, rsa_key: rsa.RSAPrivateKey
) -> None:
    assert "nobody who is on record" in str(refusal(tenancy, request_for(rsa_key, upn("eve@example.com")), rsa_key))
    (told,) = cloud.of("failureNotification")
    assert told["hResult"] == FailureCode.HOLDER.h_result == 0xA0040002 - 2**32
    assert "nobody who is on record" in told["errorDescription"]
    assert tenancy.certificates() == []


@pytest.mark.parametrize(
    "name",
    [
        x509.RFC822Name("bob@example.com"),
        upn("bob@example.com"),
        x509.DNSName("mail.example.com"),
        x509.UniformResourceIdentifier(f"urn:uuid:{DEVICE}"),
        x509.UniformResourceIdentifier("tag:microsoft.com,2022-09-14:sid:S-1-5-21-1-2-3-500"),
        x509.RFC822Name("alice@elsewhere.example"),
    ],
    ids=lambda name: str(name.value)[:30],
)
def test_every_name_must_be_the_same_persons(
    tenancy: Tenancy, cloud: Cloud, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey, name: x509.GeneralName
) -> None:
    del alice
    tenancy.world.add_person("bob@example.com", "bob@example.com")
    refused = refusal(tenancy, request_for(rsa_key, upn("alice@example.com"), name), rsa_key)
    assert "not authorised" in str(refused)
    assert cloud.of("failureNotification")[0]["hResult"] == FailureCode.NAMES.h_result
    assert tenancy.certificates() == []
    # Whom Intune vouches for is no stranger, who would fill the record.
    assert tenancy.world.counts()["refusals"] == 1


def test_what_a_phone_is_called_finds_nobody(tenancy: Tenancy, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey) -> None:
    """Who may rename a phone could name it after somebody else, and Intune would vouch for its name."""
    del alice
    refused = refusal(tenancy, request_for(rsa_key, common_name="alice@example.com"), rsa_key)
    assert "names no person" in str(refused)
    tenancy.offer("device")
    tenancy.world.add_device("kiosk", mdm_id=DEVICE, dns_name="kiosk.example.com")
    refused = refusal(tenancy, request_for(rsa_key, x509.DNSName("kiosk.example.com"), common_name="kiosk"), rsa_key)
    assert "names no device" in str(refused)


def test_somebody_elses_device_is_no_device_of_this_person(
    tenancy: Tenancy, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey
) -> None:
    del alice
    tenancy.world.add_person("bob@example.com", "bob@example.com")
    tenancy.world.add_device(owner="bob@example.com", mdm_id=DEVICE)
    refused = refusal(tenancy, request_for(rsa_key, upn("alice@example.com"), common_name=DEVICE), rsa_key)
    assert "this person's" in str(refused)


def test_who_is_no_longer_active_is_refused(
    tenancy: Tenancy, cloud: Cloud, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey
) -> None:
    phone = tenancy.world.add_device(owner=alice.upn, mdm_id=DEVICE)
    now = tenancy.clock.now()
    tenancy.world.transactions.write(lambda session: deactivate_device(session, phone.id, actor=ACTOR, now=now))
    assert "device" in str(refusal(tenancy, request_for(rsa_key, upn("alice@example.com"), common_name=DEVICE), rsa_key))
    tenancy.world.transactions.write(lambda session: deactivate_person(session, alice.id, actor=ACTOR, now=now))
    assert "person" in str(refusal(tenancy, request_for(rsa_key, upn("alice@example.com")), rsa_key))
    assert {each["hResult"] for each in cloud.of("failureNotification")} == {FailureCode.HOLDER.h_result}


def test_a_key_that_is_too_weak_is_refused_and_intune_learns_why(
    tenancy: Tenancy, cloud: Cloud, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey
) -> None:
    del alice
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    refusal(tenancy, request_for(weak, upn("alice@example.com")), rsa_key)
    assert cloud.of("failureNotification")[0]["hResult"] == FailureCode.KEY.h_result


def test_a_failure_that_intune_does_not_hear_is_a_failure_all_the_same(
    tenancy: Tenancy, cloud: Cloud, rsa_key: rsa.RSAPrivateKey
) -> None:
    cloud.answer("failureNotification", Reply(500))
    assert "nobody" in str(refusal(tenancy, request_for(rsa_key, upn("eve@example.com")), rsa_key))


def test_what_fails_here_for_now_is_no_failure_that_intune_is_told_of(
    tenancy: Tenancy, cloud: Cloud, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey
) -> None:
    del alice

    def down(_act: object) -> None:
        raise Unavailable("the database is")

    csr = request_for(rsa_key, upn("alice@example.com"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tenancy.world.transactions, "write", down)
        with pytest.raises(Unavailable):
            tenancy.enrol(csr, rsa_key)
    assert [each.action for each in cloud.received] == ["validateRequest"]
    tenancy.enrol(csr, rsa_key)


# --- withheld ---


def test_a_certificate_stays_in_the_house_until_intune_has_taken_note(
    tenancy: Tenancy, cloud: Cloud, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey
) -> None:
    del alice
    csr = request_for(rsa_key, upn("alice@example.com"))
    cloud.answer("successNotification", Reply(500), Reply(503))
    for _ in range(2):
        with pytest.raises(Unavailable):
            tenancy.enrol(csr, rsa_key)
        assert tenancy.is_withheld() == [True]
        # Nobody was told of it: no directory, for one.
        assert tenancy.announced == []
    identity = tenancy.enrol(csr, rsa_key)
    (certificate,) = tenancy.certificates()
    assert identity.certificate.public_bytes(Encoding.DER) == certificate.der
    assert tenancy.is_withheld() == [False]
    assert tenancy.announced == [certificate.id]
    # Asked once whether, and told as often as it took what.
    assert len(cloud.of("validateRequest")) == 1
    assert cloud.of("failureNotification") == []


def test_a_lost_answer_is_told_again_in_the_same_words(
    tenancy: Tenancy, cloud: Cloud, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey
) -> None:
    del alice
    csr = request_for(rsa_key, upn("alice@example.com"))
    cloud.answer("successNotification", Reply(502, after_effect=True))
    with pytest.raises(Unavailable):
        tenancy.enrol(csr, rsa_key)
    tenancy.enrol(csr, rsa_key)
    first, second = cloud.of("successNotification")
    assert first == second


def test_a_certificate_that_intune_does_not_want_is_never_handed_out_and_revoked_after_a_day(
    tenancy: Tenancy, cloud: Cloud, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey
) -> None:
    del alice
    csr = request_for(rsa_key, upn("alice@example.com"))
    cloud.answer("successNotification", *[code("ScepProfileNoLongerTargetedToTheClient")] * 2)
    assert "NoLongerTargeted" in str(refusal(tenancy, csr, rsa_key))
    assert tenancy.sweep() == 0
    tenancy.clock.advance(timedelta(hours=23, minutes=59))
    assert tenancy.sweep() == 0
    assert "NoLongerTargeted" in str(refusal(tenancy, csr, rsa_key))
    tenancy.clock.advance(timedelta(minutes=1))
    assert tenancy.sweep() == 1
    assert tenancy.sweep() == 0
    (certificate,) = tenancy.certificates()
    assert tenancy.revoked == [certificate.serial]
    assert certificate.revocation_reason == RevocationReason.CESSATION_OF_OPERATION
    # It is late for a change of mind.
    assert "revoked" in str(refusal(tenancy, csr, rsa_key))
    assert tenancy.announced == []


def test_the_worker_knows_when_a_certificate_has_been_withheld_for_long_enough(
    tenancy: Tenancy, cloud: Cloud, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey
) -> None:
    del alice

    def due() -> object:
        with tenancy.world.transactions.reading() as session:
            return withheld.next_due(session)

    assert due() is None
    cloud.answer("successNotification", Reply(500))
    with suppress(Unavailable):
        tenancy.enrol(request_for(rsa_key, upn("alice@example.com")), rsa_key)
    assert due() == tenancy.clock.now() + timedelta(hours=24)
    tenancy.enrol(request_for(rsa_key, upn("alice@example.com")), rsa_key)
    assert due() is None


def test_what_was_released_is_left_alone_by_the_worker(tenancy: Tenancy, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey) -> None:
    del alice
    tenancy.enrol(request_for(rsa_key, upn("alice@example.com")), rsa_key)
    tenancy.clock.advance(timedelta(hours=25))
    assert tenancy.sweep() == 0
    assert tenancy.revoked == []


@pytest.mark.parametrize("reason", [RevocationReason.SUPERSEDED, RevocationReason.CERTIFICATE_HOLD])
def test_what_an_administrator_has_revoked_meanwhile_is_not_handed_out(
    tenancy: Tenancy, cloud: Cloud, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey, reason: RevocationReason
) -> None:
    del alice
    csr = request_for(rsa_key, upn("alice@example.com"))
    cloud.answer("successNotification", Reply(500))
    with suppress(Unavailable):
        tenancy.enrol(csr, rsa_key)
    (certificate,) = tenancy.certificates()
    tenancy.world.transactions.write(
        lambda session: revocation.revoke(session, [certificate.id or 0], reason, actor=ACTOR, now=tenancy.clock.now())
    )
    assert "revoked" in str(refusal(tenancy, csr, rsa_key))
    tenancy.clock.advance(timedelta(hours=24))
    assert tenancy.sweep() == 1
    # One on hold must not come back with a release: nobody holds it.
    assert (tenancy.certificates()[0].revocation_reason == reason) == (reason is not RevocationReason.CERTIFICATE_HOLD)


def test_a_certificate_revoked_while_intune_was_told_is_not_handed_out(
    tenancy: Tenancy, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    del alice
    told = tenancy.validation.notify_success

    def revoked_meanwhile(*arguments: object) -> None:
        told(*arguments)  # type: ignore[arg-type] # handed on
        (certificate,) = tenancy.certificates()
        tenancy.world.transactions.write(
            lambda session: revocation.revoke(
                session, [certificate.id or 0], RevocationReason.SUPERSEDED, actor=ACTOR, now=tenancy.clock.now()
            )
        )

    monkeypatch.setattr(tenancy.validation, "notify_success", revoked_meanwhile)
    assert "revoked" in str(refusal(tenancy, request_for(rsa_key, upn("alice@example.com")), rsa_key))
    assert tenancy.announced == []


def test_the_worker_does_not_wait_for_a_release_that_is_under_way(
    postgresql_url: URL, clock: ManualClock, cloud: Cloud, tls: ServerTls, rsa_key: rsa.RSAPrivateKey
) -> None:
    """SQLite has one writer at a time, who is done before the next one begins."""
    store, other = Database(postgresql_url), Database(postgresql_url)
    with Transport(ca_file=tls.ca, ticker=PassingTicker()) as transport, closing(store), closing(other):
        tenancy = Tenancy(store, clock, ScepValidation.of(tenant_of(cloud), transport))
        tenancy.world.add_person()
        cloud.answer("successNotification", Reply(500))
        with suppress(Unavailable):
            tenancy.enrol(request_for(rsa_key, upn("alice@example.com")), rsa_key)
        clock.advance(timedelta(hours=24))

        def releasing(session: Session) -> int:
            session.execute(update(Enrolment).values(withheld_until=None))
            return tenancy.sweep()

        assert other.write(releasing) == 0
        assert tenancy.is_withheld() == [False]
        assert tenancy.revoked == []


def test_a_withheld_certificate_renews_nothing(
    tenancy: Tenancy, cloud: Cloud, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey
) -> None:
    del alice
    cloud.answer("successNotification", Reply(500))
    with suppress(Unavailable):
        tenancy.enrol(request_for(rsa_key, upn("alice@example.com")), rsa_key)
    tenancy.world.configure(renew_after=0.0)
    certificate = x509.load_der_x509_certificate(tenancy.certificates()[0].der)
    with pytest.raises(EnrolmentRefused, match="renewal must be signed"):
        tenancy.world.renew(Identity(certificate, rsa_key), rsa_key)


def test_no_challenge_reaches_the_record(tenancy: Tenancy, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey) -> None:
    del alice
    tenancy.enrol(request_for(rsa_key, upn("alice@example.com")), rsa_key)
    with pytest.raises(SignetryError):
        tenancy.enrol(request_for(rsa_key, upn("eve@example.com")), rsa_key)
    with tenancy.world.transactions.reading() as session:
        events = [str(row) for row in session.execute(select(AuditEvent.__table__))]  # type: ignore[attr-defined]
    assert any("Intune, transaction" in event for event in events)
    assert not any(CHALLENGE in event for event in events)


def test_a_stranger_who_names_somebody_leaves_nothing_in_the_audit_record(
    tenancy: Tenancy, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey
) -> None:
    """Nobody has vouched for a name that stands in a renewal without certificate and challenge."""
    del alice
    csr = request_for(rsa_key, upn("alice@example.com"), challenge="").public_bytes(Encoding.DER)
    answer = Peer.stranger(tenancy.world, rsa_key).ask(csr, message_type=MessageType.RENEWAL_REQ)
    assert answer.fail_info == FailInfo.BAD_CERT_ID
    assert tenancy.world.counts()["refusals"] == 0


@pytest.fixture
def not_told(tenancy: Tenancy, cloud: Cloud, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey) -> x509.CertificateSigningRequest:
    """A request of Alice's whose certificate is withheld."""
    del alice
    csr = request_for(rsa_key, upn("alice@example.com"))
    cloud.answer("successNotification", Reply(500))
    with suppress(Unavailable):
        tenancy.enrol(csr, rsa_key)
    assert tenancy.is_withheld() == [True]
    return csr


def test_who_was_deactivated_meanwhile_is_not_handed_what_was_withheld(
    tenancy: Tenancy, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey, not_told: x509.CertificateSigningRequest
) -> None:
    tenancy.world.transactions.write(lambda session: deactivate_person(session, alice.id, actor=ACTOR, now=tenancy.clock.now()))
    assert "the person is not active" in str(refusal(tenancy, not_told, rsa_key))
    assert tenancy.is_withheld() == [True]
    assert tenancy.announced == []


def test_what_was_withheld_is_not_handed_out_where_nobody_is_told_any_more(
    tenancy: Tenancy, rsa_key: rsa.RSAPrivateKey, not_told: x509.CertificateSigningRequest
) -> None:
    tenancy.world.enroller = Enroller(tenancy.world.transactions, tenancy.clock)
    assert "was never released" in str(refusal(tenancy, not_told, rsa_key))
    assert tenancy.is_withheld() == [True]
