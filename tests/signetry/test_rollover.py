"""A roll-over as running processes see it, and all that follows an authority: GetNextCACert, CRLs, readiness, doctor, metrics."""

import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import update
from sqlmodel import Session, col, select

from ca import hierarchy, ra_keys
from ca.authorisation import CaName, PersonId, ProfileName
from ca.errors import RolloverRefused
from ca.keys import KeyAlgorithm
from ca.lineage import Standing
from ca.records import Certificate
from ca.rows import id_of, row_named
from crl import publication
from crl.records import CrlSchedule
from people.person import PersonFields
from people.persons import add_person
from scep import challenge
from scep.ca_certificates import read_next_bag
from scep.client import Identity, ScepClient, build_csr
from scep.cms import read_certificates
from scep.endpoint import UnknownEndpoint
from scep.enrolment import Enroller
from scep.errors import EnrolmentRefused, NoNextCa
from scep.message import MessageType
from scep.responder import Responder
from scep.retrieval import QUERIES, FoundCrl
from signetry.administration import crls, rollover
from signetry.administration.installation import settle_in
from signetry.administration.rollover import SuccessorOrder, Taken
from signetry.assembly import web_parts
from signetry.doctor.examination import examine
from signetry.house import House
from signetry.issuers import needing_ra_keys, published_for
from signetry.metrics.state import StateCollector
from tests.clocks import ManualClock
from tests.signetry.installation import clock_of_today, opened
from tests.signetry.test_assembly import revoke_certificate_of
from tests.signetry.test_authorities import within_a_second

OTHER = CaName("issuing-2")


@pytest.fixture
def today() -> ManualClock:
    """A clock that both houses go by."""
    return clock_of_today()


@pytest.fixture
def serving(installed_home: Path, today: ManualClock) -> Iterator[House]:
    """The house of a running process."""
    assert installed_home.exists()
    with opened(today) as house:
        yield house


@pytest.fixture
def other(serving: House, today: ManualClock) -> Iterator[House]:
    """The house of commands and of the worker."""
    assert serving.settings.home.exists()
    with opened(today) as house:
        yield house


def responder(house: House) -> Responder:
    enroller = Enroller(house.transactions, house.clock)
    return Responder(house.endpoints, house.authorities.endpoint_keys, enroller, house.transactions)


def client(house: House) -> ScepClient:
    """Return our client before the endpoint ``default`` of a process."""
    answers = responder(house)

    def serve(request: httpx2.Request) -> httpx2.Response:
        match request.url.params["operation"]:
            case "GetCACaps":
                return httpx2.Response(200, text=answers.capabilities("default"))
            case "GetCACert":
                return httpx2.Response(200, content=answers.ca_certificates("default")[1])
            case "GetNextCACert":
                return httpx2.Response(200, content=answers.next_ca_certificates("default")[1])
            case _:
                return httpx2.Response(200, content=answers.pki_operation("default", request.content, origin="test"))

    return ScepClient("http://scep.test/scep/default", transport=httpx2.MockTransport(serve))


def minted(house: House, name: str = "alice") -> str:
    def act(session: Session) -> str:
        now = house.clock.now()
        fields = PersonFields(upn=f"{name}@example.com", email=f"{name}@example.com", display_name=name.title())
        person = add_person(session, fields, actor=house.actor, now=now)
        order = challenge.ChallengeOrder("default", ProfileName("identity"), PersonId(person.id), None)
        return challenge.mint(session, order, actor=house.actor, now=now)[0]

    return house.transactions.write(act)


def prepared(house: House) -> CaName:
    """Prepare a successor as ``signetry ca rollover prepare`` does."""
    made = rollover.prepare(house, SuccessorOrder("issuing"))
    assert made.certificate is not None
    settle_in(house)
    return made.name


def rolled_over(house: House) -> Taken:
    prepared(house)
    return rollover.activate(house, "issuing")


def seen(serving: House, active: str) -> None:
    within_a_second(lambda: serving.authorities.endpoint_keys(hierarchy.ISSUING).authority.name == active)


# --- GetNextCACert ---


def test_a_next_ca_is_told_of_only_while_one_is_prepared(serving: House, other: House) -> None:
    answers = responder(serving)
    assert "GetNextCACert" not in answers.capabilities("default")
    with pytest.raises(NoNextCa):
        answers.next_ca_certificates("default")
    rollover.prepare(other, SuccessorOrder("issuing"))
    time.sleep(0.6)
    # It has no RA key yet, so what clients would be told is not complete.
    assert "GetNextCACert" not in answers.capabilities("default")
    prepared(other)
    within_a_second(lambda: "GetNextCACert" in answers.capabilities("default"))
    content_type, body = answers.next_ca_certificates("default")
    assert content_type == "application/x-x509-next-ca-cert"
    with client(serving) as ours:
        announced = read_next_bag(body, ours.ca_certificates())
        rollover.activate(other, "issuing")
        seen(serving, "issuing-2")
        # What was announced is what GetCACert names then, in the same order.
        within_a_second(lambda: announced == ours.ca_certificates().certificates)
    assert "GetNextCACert" not in answers.capabilities("default")
    with pytest.raises(NoNextCa):
        answers.next_ca_certificates("default")
    with pytest.raises(UnknownEndpoint):
        answers.next_ca_certificates("nowhere")


def test_openssl_verifies_the_next_ca_with_todays_ca(serving: House, other: House, tmp_path: Path) -> None:
    prepared(other)
    within_a_second(lambda: "GetNextCACert" in responder(serving).capabilities("default"))
    body = responder(serving).next_ca_certificates("default")[1]
    (tmp_path / "next.der").write_bytes(body)
    (tmp_path / "root.pem").write_bytes(serving.authority("root").certificate.public_bytes(Encoding.PEM))
    (tmp_path / "ca.pem").write_bytes(serving.authority("issuing").certificate.public_bytes(Encoding.PEM))
    # -nointern: with today's CA, as the client knows it, and none that came along. A CA's key usage names no signatures, and RFC
    # 8894 section 4.7.1 has it sign all the same.
    command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "next.der", "-purpose", "any", "-nointern"]
    command += ["-certfile", "ca.pem", "-CAfile", "root.pem", "-out", "bag.der"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    bag = [x509.load_der_x509_certificate(der) for der in read_certificates((tmp_path / "bag.der").read_bytes())]
    assert [each.subject.rfc4514_string() for each in bag] == [
        "CN=SCEP RA 1 of issuing-2",
        "CN=Signetry Issuing CA 2",
        "CN=Signetry Root CA",
    ]


def test_what_an_endpoint_can_do_is_said_without_its_keys(serving: House, installed_home: Path) -> None:
    (installed_home / "keys" / "issuing-p256.key").unlink()
    assert "POSTPKIOperation" in responder(serving).capabilities("default")


# --- what is asked of those before ---


def test_requests_retries_and_renewals_from_before_are_answered_after(
    serving: House, other: House, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    with client(serving) as ours:
        bag = ours.ca_certificates()
        csr = build_csr(rsa_key, "x", minted(other))
        held = ours.enrol(bag, rsa_key, csr)
        second = build_csr(other_rsa_key, "x", minted(other, "bob"))
        rolled_over(other)
        seen(serving, "issuing-2")
        # To the RA of before, with the certificates of before: the answer is signed by it, the certificate is today's CA's.
        across = ours.enrol(bag, other_rsa_key, second)
        assert across.certificate.issuer == serving.authority("issuing-2").certificate.subject
        # Sent again, to either RA: what it got.
        assert ours.enrol(bag, rsa_key, csr).certificate == held.certificate
        within_a_second(lambda: ours.ca_certificates() != bag)
        fresh = ours.ca_certificates()
        assert ours.enrol(fresh, other_rsa_key, second).certificate == across.certificate
        serving.clock.advance(days=300)  # type: ignore[attr-defined] # a clock of the test's
        other.renew_ra_keys()
        within_a_second(lambda: ours.ca_certificates().ra != fresh.ra)
        renewed = ours.renew(ours.ca_certificates(), held, rsa_key)
        assert renewed.certificate.issuer == across.certificate.issuer
        with serving.transactions.reading() as session:
            row = session.exec(select(Certificate).where(col(Certificate.renews_id).is_not(None))).one()
        assert row.der == renewed.certificate.public_bytes(Encoding.DER)


def renewal_of(serving: House, held: Identity, key: rsa.RSAPrivateKey) -> str:
    with client(serving) as ours:
        try:
            ours.renew(ours.ca_certificates(), held, key)
        except EnrolmentRefused as refusal:
            return str(refusal)
    return "renewed"


def test_of_a_retired_ca_nothing_is_opened_and_nothing_renewed(serving: House, other: House, rsa_key: rsa.RSAPrivateKey) -> None:
    with client(serving) as ours:
        bag = ours.ca_certificates()
        held = ours.enrol(bag, rsa_key, build_csr(rsa_key, "x", minted(other)))
        rolled_over(other)
        seen(serving, "issuing-2")
        rollover.retire(other, "issuing", force=True)
        within_a_second(lambda: len(serving.authorities.endpoint_keys(hierarchy.ISSUING).ra) == 1)
        assert "must be signed with the certificate to be renewed" in renewal_of(serving, held, rsa_key)
        # The RA that is left signs the refusal, and a client that knows the one before alone does not believe it.
        with pytest.raises(Exception, match=r"did not name"):
            ours.enrol(bag, rsa_key, build_csr(rsa_key, "x", minted(other, "bob")))


def test_a_former_ca_that_is_revoked_renews_nothing_and_stops_nobody(
    serving: House, other: House, rsa_key: rsa.RSAPrivateKey
) -> None:
    with client(serving) as ours:
        held = ours.enrol(ours.ca_certificates(), rsa_key, build_csr(rsa_key, "x", minted(other)))
    revoke_certificate_of(other, "issuing")
    rolled_over(other)
    seen(serving, "issuing-2")
    keys = serving.authorities.endpoint_keys(hierarchy.ISSUING)
    assert (keys.former, len(keys.ra)) == ((), 1)
    assert "must be signed" in renewal_of(serving, held, rsa_key)


def test_a_former_ca_answers_without_its_own_key(serving: House, other: House, installed_home: Path) -> None:
    rolled_over(other)
    (installed_home / "keys" / "issuing-p256.key").unlink()
    seen(serving, "issuing-2")
    keys = serving.authorities.endpoint_keys(hierarchy.ISSUING)
    assert [each.id for each in keys.former] == [serving_id(serving, "issuing")]
    assert len(keys.ra) == 2


def test_an_ra_key_of_a_former_ca_that_cannot_be_opened_stops_nobody_and_is_tried_again(
    serving: House, other: House, installed_home: Path, today: ManualClock
) -> None:
    rolled_over(other)
    file = installed_home / "keys" / "issuing-ra-1.key"
    away = file.rename(file.with_suffix(".away"))
    seen(serving, "issuing-2")
    assert len(serving.authorities.endpoint_keys(hierarchy.ISSUING).ra) == 1
    away.rename(file)
    assert len(serving.authorities.endpoint_keys(hierarchy.ISSUING).ra) == 1
    today.advance(minutes=1)
    assert len(serving.authorities.endpoint_keys(hierarchy.ISSUING).ra) == 2


def serving_id(house: House, name: str) -> int:
    with house.transactions.reading() as session:
        return id_of(row_named(session, CaName(name)))


def test_our_authorities_are_known_by_the_names_in_what_they_issue(serving: House, other: House) -> None:
    before = serving.authorities.issuers()
    assert set(before) == {serving.authority(name).subject_der for name in ("root", "issuing")}
    rollover.prepare(other, SuccessorOrder("issuing"))
    within_a_second(lambda: len(serving.authorities.issuers()) == 3)
    assert {MessageType.GET_CERT, MessageType.GET_CRL} == QUERIES


def test_a_crl_for_a_message_is_read_only_where_it_is_small_enough(other: House) -> None:
    number = serving_id(other, "issuing")
    whole = crls.newest_within(other, number, 10_000)
    assert whole is not None
    assert whole.der is not None
    assert x509.load_der_x509_crl(whole.der).issuer == other.authority("issuing").certificate.subject
    assert whole.url == "http://pki.example.com/crl/issuing.crl"
    assert crls.newest_within(other, number, len(whole.der)) == whole
    assert crls.newest_within(other, number, len(whole.der) - 1) == FoundCrl(whole.url, None)
    rollover.prepare(other, SuccessorOrder("issuing"))
    assert crls.newest_within(other, serving_id(other, "issuing-2"), 10_000) is None


# --- the steps ---


def test_nothing_is_activated_without_a_crl_and_an_ra_key(other: House) -> None:
    rollover.prepare(other, SuccessorOrder("issuing"))
    with pytest.raises(RolloverRefused, match=r"issuing-2 has no RA key yet"):
        rollover.activate(other, "issuing")
    other.renew_ra_keys()
    with pytest.raises(RolloverRefused, match=r"issuing-2 has no CRL that is valid now"):
        rollover.activate(other, "issuing")
    assert other.issuing_now("issuing").name == "issuing"
    other.publish_crls()
    assert rollover.activate(other, "issuing").changed


def test_a_rehearsal_says_what_a_step_means_and_changes_nothing(other: House) -> None:
    prepared(other)
    would = rollover.activate(other, "issuing", dry_run=True)
    assert (would.name, would.changed) == ("issuing-2", True)
    assert any("there is no way back" in each for each in would.consequences)
    assert other.issuing_now("issuing").name == "issuing"
    assert rollover.activate(other, "issuing") == would
    assert rollover.activate(other, "issuing") == Taken(OTHER, changed=False, standing=Standing.ACTIVE, consequences=())
    assert rollover.retire(other, "issuing", dry_run=True).changed
    assert rollover.retire(other, "issuing").changed
    assert not rollover.retire(other, "issuing").changed


def test_a_new_ra_key_is_made_for_whoever_issues(other: House) -> None:
    rolled_over(other)
    made = other.transactions.write(lambda session: rollover.renew_ra(other, "issuing", session))
    assert made.certificate.subject.rfc4514_string() == "CN=SCEP RA 2 of issuing-2"
    made.certificate.verify_directly_issued_by(other.authority("issuing-2").certificate)


def test_a_lineage_that_no_endpoint_names_needs_no_ra_key(other: House) -> None:
    def make(session: Session) -> None:
        root = hierarchy.load_authority(session, other.keystore, hierarchy.ROOT, other.settings.public_url)
        new = hierarchy.NewAuthority(CaName("mail"), "Mail CA", KeyAlgorithm.P256)
        url = other.settings.public_url
        hierarchy.create_issuing(session, other.keystore, root, new, public_url=url, actor=other.actor, now=other.clock.now())

    other.transactions.write(make)
    assert rollover.prepare(other, SuccessorOrder("mail")).name == "mail-2"
    other.publish_crls()
    assert rollover.activate(other, "mail").name == "mail-2"
    with other.transactions.reading() as session:
        assert not ra_keys.has_ra_key(session, id_of(row_named(session, CaName("mail-2"))), now=other.clock.now())


# --- what follows an authority ---


def test_ra_keys_are_made_for_who_issues_and_who_will(other: House) -> None:
    def needing() -> list[str]:
        with other.transactions.reading() as session:
            return [row.name for row in needing_ra_keys(session, {hierarchy.ISSUING})]

    assert needing() == ["issuing"]
    rollover.prepare(other, SuccessorOrder("issuing", elsewhere=True))
    # It could certify none.
    assert needing() == ["issuing"]
    rollover.retire(other, "issuing-2")
    prepared(other)
    assert needing() == ["issuing", "issuing-3"]
    rollover.activate(other, "issuing")
    assert needing() == ["issuing-3"]


def test_what_directories_hold_is_signed_for_as_long_as_it_may_be_valid(other: House, today: ManualClock) -> None:
    def publishing() -> list[str]:
        with other.transactions.reading() as session:
            return sorted(published_for(session, {hierarchy.ISSUING}, now=today.now()))

    rolled_over(other)
    assert publishing() == ["issuing", "issuing-2"]
    rollover.retire(other, "issuing")
    # The certificate of its RA is the last that is valid.
    assert publishing() == ["issuing", "issuing-2"]
    today.advance(days=91)
    assert publishing() == ["issuing-2"]


def test_the_key_of_a_retired_ca_is_missed_as_long_as_it_signs_crls(
    other: House, installed_home: Path, today: ManualClock
) -> None:
    def missed() -> list[str]:
        return [each.finding for each in examine(other) if each.check == "keys" and each.severity == "error"]

    rolled_over(other)
    rollover.retire(other, "issuing")
    (installed_home / "keys" / "issuing-p256.key").unlink()
    assert [each for each in missed() if "issuing-p256" in each]
    today.advance(days=91)
    assert not [each for each in missed() if "issuing-p256" in each]


def test_what_a_process_names_every_other_one_can_read(serving: House, other: House, rsa_key: rsa.RSAPrivateKey) -> None:
    csr = build_csr(rsa_key, "x", minted(other))
    with client(serving) as here, client(other) as there:
        before = here.ca_certificates()
        prepared(other)
        time.sleep(0.6)
        # Looked at just before the change there, and just after it here.
        assert there.ca_certificates() == before
        rollover.activate(other, "issuing")
        named = here.ca_certificates()
        assert serving.authorities.endpoint_keys(hierarchy.ISSUING).authority.name == "issuing-2"
        assert there.enrol(named, rsa_key, csr).certificate.public_key() == rsa_key.public_key()
        within_a_second(lambda: here.ca_certificates() != before)


def test_the_crl_of_a_retired_ca_goes_on_until_its_last_certificate_has_expired(other: House, today: ManualClock) -> None:
    rolled_over(other)
    rollover.retire(other, "issuing")
    number = serving_id(other, "issuing")

    def due() -> object:
        with other.transactions.reading() as session:
            return session.exec(select(CrlSchedule.due_at).where(col(CrlSchedule.authority_id) == number)).one()

    today.advance(hours=2)
    assert "issuing" not in {outcome.failure for outcome in other.publish_crls()}
    assert due() is not None
    today.advance(days=91)
    other.publish_crls()
    # One more than a certificate's end, as RFC 5280 section 3.3 wants it, and then no other.
    today.advance(hours=2)
    other.publish_crls()
    assert due() is None
    today.advance(days=40)
    other.renew_ra_keys()
    other.publish_crls()
    other.transactions.write(lambda session: publication.ensure_schedules(session, today.now()))
    assert due() is None
    with other.transactions.reading() as session:
        head = publication.current(session, number)
        assert head is not None
        assert head.next_update < today.now()
    # Nobody misses it.
    require_ready(other)
    findings = {each.check: each.severity for each in examine(other)}
    assert "CRL of issuing" not in findings
    assert findings["authority issuing"] == findings["authority issuing-2"] == "ok"
    margins = samples(other, "signetry_crl_margin_seconds", "authority")
    assert {"issuing-2", "root"} == margins


def require_ready(house: House) -> None:
    """Check what /readyz does."""
    for each in web_parts(house).readiness:
        each.check()


def samples(house: House, metric: str, label: str) -> set[str]:
    return {sample.labels[label] for each in StateCollector(house).collect() for sample in each.samples if sample.name == metric}


def test_nobody_is_alarmed_by_the_end_of_a_ca_that_was_succeeded(other: House, today: ManualClock) -> None:
    rolled_over(other)
    ends = "signetry_certificate_not_after_timestamp_seconds"
    assert {"issuing-2", "root"} <= samples(other, ends, "name")
    assert "issuing" not in samples(other, ends, "name")
    other.transactions.write(
        lambda session: session.execute(
            update(Certificate)
            .values(not_after=today.now() + timedelta(days=3))
            .where(col(Certificate.certifies_id) == id_of(row_named(session, hierarchy.ISSUING)))
        )
    )
    findings = {each.check: each for each in examine(other)}
    assert findings["authority issuing"].severity == "ok"
    assert findings["authority issuing"].finding.startswith("former: another has taken its place")
    assert "from issuing-2" in findings["endpoint default"].finding


def test_the_doctor_says_how_an_authority_is_succeeded(other: House, today: ManualClock) -> None:
    other.transactions.write(
        lambda session: session.execute(update(Certificate).values(not_after=today.now() + timedelta(days=3)))
    )
    advice = {each.check: each.advice for each in examine(other) if each.severity == "warning"}
    assert "signetry ca rollover prepare issuing" in advice["authority issuing"]
    assert "rollover" not in advice["authority root"]
