"""When CRLs are built, what they list, and how they are numbered; on both databases."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from sqlmodel import Session, col, select

from audit.log import Actor
from ca import revocation
from ca.issuance import IssuingAuthority
from ca.records import Certificate, CertificationAuthority
from ca.revocation import RevocationReason, RevokedCertificate
from crl import publication
from crl.publication import CrlHead, Freshness, owe, publish_due
from crl.records import CrlSchedule, PublishedCrl
from foundation.due import LEASE, held
from signetry.database import Database
from tests.clocks import ManualClock
from tests.crl.world import ISSUING, ROOT, World

ACTOR = Actor("cli:tester")
Reason = RevocationReason


@pytest.fixture
def world(store: Database, clock: ManualClock, ec_key: ec.EllipticCurvePrivateKey, rsa_key: rsa.RSAPrivateKey) -> World:
    """Both authorities, just started and published."""
    world = World(store, clock, ec_key, rsa_key)
    world.start()
    return world


def revoke(world: World, certificate_id: int, reason: Reason = Reason.SUPERSEDED) -> None:
    def act(session: Session) -> None:
        now = world.clock.now()
        revocation.revoke(session, [certificate_id], reason, actor=ACTOR, now=now, listeners=[owing(world)])

    world.transactions.write(act)


def owing(world: World) -> revocation.RevocationListener:
    def listener(session: Session, revoked: RevokedCertificate) -> None:
        owe(session, revoked.authority_id, world.clock.now())

    return listener


def head(world: World, authority_id: int = ISSUING) -> CrlHead:
    with world.transactions.reading() as session:
        found = publication.current(session, authority_id)
    assert found is not None
    return found


def crl(world: World, authority_id: int = ISSUING) -> x509.CertificateRevocationList:
    with world.transactions.reading() as session:
        der = publication.encoded(session, head(world, authority_id).id)
    assert der is not None
    return x509.load_der_x509_crl(der)


def serials(world: World) -> set[str]:
    return {f"{entry.serial_number:032x}" for entry in crl(world)}


def serial(world: World, certificate_id: int) -> str:
    with world.transactions.reading() as session:
        return session.exec(select(Certificate.serial).where(col(Certificate.id) == certificate_id)).one()


def numbers(world: World, authority_id: int = ISSUING) -> list[int]:
    with world.transactions.reading() as session:
        query = select(PublishedCrl.number).where(col(PublishedCrl.authority_id) == authority_id)
        return sorted(session.exec(query))


def schedule(world: World, authority_id: int = ISSUING) -> CrlSchedule:
    with world.transactions.reading() as session:
        return session.exec(select(CrlSchedule).where(col(CrlSchedule.authority_id) == authority_id)).one()


def published(world: World) -> list[int]:
    return sorted(outcome.authority_id for outcome in world.publish() if outcome.published)


def test_every_authority_gets_a_crl_at_the_first_start_and_none_again_at_the_next(world: World) -> None:
    assert published(world) == [ROOT, ISSUING]
    world.start()
    assert published(world) == []


def test_dates_follow_the_kind_of_authority(world: World, clock: ManualClock) -> None:
    world.publish()
    issuing, root = head(world), head(world, ROOT)
    assert issuing.next_update - issuing.this_update == timedelta(hours=24)
    assert root.next_update - root.this_update == timedelta(days=90)
    assert issuing.this_update <= clock.now()


def test_an_issuing_cas_crl_is_rebuilt_hourly_and_the_roots_monthly(world: World, clock: ManualClock) -> None:
    world.publish()
    clock.advance(minutes=59)
    assert published(world) == []
    clock.advance(minutes=1)
    assert published(world) == [ISSUING]
    clock.advance(days=30)
    assert published(world) == [ROOT, ISSUING]
    assert numbers(world) == [1, 2, 3]


def test_a_crl_that_ended_while_the_service_was_down_is_due_at_the_start(world: World, clock: ManualClock) -> None:
    world.publish()
    clock.advance(days=2)
    world.start()
    assert schedule(world).due_at == clock.now() - timedelta(days=2) + timedelta(hours=1)
    assert published(world) == [ISSUING]


def test_a_revocation_is_in_the_next_crl_and_openssl_says_revoked(world: World, clock: ManualClock, tmp_path: Path) -> None:
    world.publish()
    certificate, good = world.issue(), world.issue()
    revoke(world, certificate, Reason.KEY_COMPROMISE)
    assert published(world) == [ISSUING]
    assert serials(world) == {serial(world, certificate)}
    (tmp_path / "root.pem").write_bytes(world.root_certificate.public_bytes(Encoding.PEM))
    (tmp_path / "issuing.pem").write_bytes(world.issuing_certificate.public_bytes(Encoding.PEM))
    (tmp_path / "crl.pem").write_bytes(crl(world).public_bytes(Encoding.PEM))
    at = str(int(clock.now().timestamp()))
    for which, verdict in ((certificate, "certificate revoked"), (good, "leaf.pem: OK")):
        with world.transactions.reading() as session:
            der = session.exec(select(Certificate.der).where(col(Certificate.id) == which)).one()
        (tmp_path / "leaf.pem").write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))
        command = ["openssl", "verify", "-attime", at, "-crl_check", "-CRLfile", "crl.pem", "-CAfile", "root.pem"]
        done = subprocess.run(
            [*command, "-untrusted", "issuing.pem", "leaf.pem"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert verdict in done.stdout + done.stderr


def test_many_revocations_are_one_crl(world: World) -> None:
    world.publish()
    for _ in range(5):
        revoke(world, world.issue())
    assert published(world) == [ISSUING]
    assert published(world) == []
    assert len(serials(world)) == 5


def test_hold_puts_a_certificate_into_the_crl_and_release_takes_it_out(world: World, clock: ManualClock) -> None:
    certificate = world.issue()
    revoke(world, certificate, Reason.CERTIFICATE_HOLD)
    world.publish()
    (entry,) = crl(world)
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.certificate_hold

    def act(session: Session) -> None:
        revocation.release(session, [certificate], actor=ACTOR, now=clock.now(), listeners=[owing(world)])

    world.transactions.write(act)
    assert published(world) == [ISSUING]
    assert serials(world) == set()


def test_a_revocation_during_the_build_makes_the_next_crl_due_at_once(world: World) -> None:
    world.publish()
    first, second = world.issue(), world.issue()
    revoke(world, first)

    class Late:
        """A clock that is asked after the entries were read, and lets a revocation slip in."""

        def __init__(self) -> None:
            self.asked = 0

        def now(self) -> object:
            self.asked += 1
            if self.asked == 3:
                revoke(world, second)
            return world.clock.now()

    outcomes = publish_due(world.transactions, world.authorities, Late(), world.settings)  # type: ignore[arg-type]
    assert [outcome.published is not None for outcome in outcomes] == [True]
    assert serials(world) == {serial(world, first)}
    assert published(world) == [ISSUING]
    assert serials(world) == {serial(world, first), serial(world, second)}
    assert published(world) == []


def test_a_worker_that_lost_its_lease_loses_its_crl(world: World, clock: ManualClock) -> None:
    world.publish()
    revoke(world, world.issue())
    overtaken: list[int] = []

    def slow(authority_id: int) -> IssuingAuthority:
        if not overtaken:
            overtaken.append(authority_id)
            clock.advance(seconds=31)
            assert published(world) == [ISSUING]
        return world.authorities(authority_id)

    (outcome,) = publish_due(world.transactions, slow, clock, world.settings)
    assert (outcome.published, outcome.failure) == (None, "")
    assert numbers(world) == [1, 2]
    assert schedule(world).last_number == 2


def test_a_build_that_takes_longer_than_a_lease_keeps_it(
    world: World, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish()
    revoke(world, world.issue())
    monkeypatch.setattr("crl.publication.held", partial(held, every=timedelta(milliseconds=20)))

    def slow(authority_id: int) -> IssuingAuthority:
        for _ in range(4):
            now = clock.advance(seconds=29)
            until = time.monotonic() + 20
            while schedule(world).lease_until != now + LEASE:
                assert time.monotonic() < until
                time.sleep(0.01)
            # The other worker, which looks every moment.
            assert published(world) == []
        return world.authorities(authority_id)

    (outcome,) = publish_due(world.transactions, slow, clock, world.settings)
    assert outcome.published is not None
    assert numbers(world) == [1, 2]


def test_two_publishers_at_once_number_strictly_upwards(world: World) -> None:
    world.publish()

    def publisher(_: int) -> list[int]:
        seen = []
        for _ in range(8):
            world.transactions.write(lambda session: owe(session, ISSUING, world.clock.now()))
            seen += [outcome.published.number for outcome in world.publish() if outcome.published]
        return seen

    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(publisher, range(2)))
    given = sorted(number for run in runs for number in run)
    assert all(run == sorted(set(run)) for run in runs)
    assert given == list(range(2, len(given) + 2))
    assert head(world).number == given[-1] == schedule(world).last_number


def test_numbers_rise_even_over_a_schedule_that_was_lost(world: World) -> None:
    world.publish()
    world.transactions.write(lambda session: session.delete(session.get(CrlSchedule, ISSUING)))
    world.start()
    assert published(world) == [ISSUING]
    assert numbers(world) == [1, 2]


def test_the_last_three_crls_are_kept(world: World, clock: ManualClock) -> None:
    for _ in range(5):
        world.publish()
        clock.advance(hours=1)
    assert numbers(world) == [3, 4, 5]
    assert numbers(world, ROOT) == [1]


def test_an_expired_certificate_leaves_after_one_more_crl(world: World, clock: ManualClock) -> None:
    certificate = world.issue(not_after=clock.now() + timedelta(minutes=90))
    revoke(world, certificate)
    listed = []
    for _ in range(5):
        world.publish()
        listed.append(len(serials(world)))
        clock.advance(hours=1)
    # Expired after an hour and a half: the CRL of the second hour still lists it, that of the third no more.
    assert listed == [1, 1, 1, 0, 0]


def test_what_is_revoked_after_its_end_is_listed_once(world: World, clock: ManualClock) -> None:
    certificate = world.issue(not_after=clock.now() + timedelta(minutes=1))
    clock.advance(days=3)
    world.publish()
    revoke(world, certificate, Reason.KEY_COMPROMISE)
    world.publish()
    assert serials(world) == {serial(world, certificate)}


def test_a_locked_key_delays_only_its_own_crl(world: World, clock: ManualClock) -> None:
    world.locked.add(ROOT)
    outcomes = {outcome.authority_id: outcome for outcome in world.publish()}
    assert outcomes[ROOT].failure == "the key is in the safe"
    assert outcomes[ISSUING].published
    assert schedule(world, ROOT).due_at == clock.now() + timedelta(seconds=5)
    clock.advance(seconds=5)
    world.publish()
    assert schedule(world, ROOT).due_at == clock.now() + timedelta(seconds=10)
    world.locked.clear()
    clock.advance(seconds=10)
    assert published(world) == [ROOT]
    assert (schedule(world, ROOT).failures, schedule(world, ROOT).due_at) == (0, clock.now() + timedelta(days=30))


def test_a_revocation_ends_the_wait_after_a_failure(world: World, clock: ManualClock) -> None:
    world.locked.add(ISSUING)
    for _ in range(20):
        world.publish()
        due = schedule(world).due_at
        assert due is not None
        clock.set(due)
    world.publish()
    assert schedule(world).due_at == clock.now() + timedelta(hours=1)
    world.locked.clear()
    revoke(world, world.issue())
    assert published(world) == [ISSUING]


def test_a_clock_ahead_does_not_push_a_due_crl_away(world: World, clock: ManualClock) -> None:
    due = clock.now()
    world.transactions.write(lambda session: owe(session, ISSUING, due + timedelta(seconds=9)))
    assert schedule(world).due_at == due
    assert schedule(world).revision == 1


def test_the_worker_learns_when_to_look_next(world: World, clock: ManualClock) -> None:
    def next_due() -> datetime | None:
        with world.transactions.reading() as session:
            return publication.next_due(session)

    assert next_due() == clock.now()
    world.publish()
    assert next_due() == clock.now() + timedelta(hours=1)

    def during(authority_id: int) -> IssuingAuthority:
        # Claimed, and due: nobody else can do anything about it before the lease ends.
        assert next_due() == clock.now() + LEASE
        return world.authorities(authority_id)

    world.transactions.write(lambda session: owe(session, ISSUING, clock.now()))
    (outcome,) = publish_due(world.transactions, during, clock, world.settings)
    assert outcome.failure == ""


def test_a_crl_is_rebuilt_before_it_ends_or_the_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="rebuilt"):
        Freshness(timedelta(hours=1), timedelta(hours=1))


def test_the_size_of_a_crl_is_known_without_reading_it(world: World) -> None:
    world.publish()
    with world.transactions.reading() as session:
        number = head(world).id
        assert publication.size(session, number) == len(publication.encoded(session, number) or b"")
        assert publication.size(session, 4711) == 0


def test_a_retired_authority_publishes_until_its_last_certificate_has_been_listed_once_more(world: World) -> None:
    certificate_id = world.issue(not_after=world.clock.now() + timedelta(hours=10))
    revoke(world, certificate_id)

    def retire(session: Session) -> None:
        row = session.get(CertificationAuthority, ISSUING)
        assert row is not None
        row.retired_at = world.clock.now()
        session.add(row)

    world.transactions.write(retire)
    seen: list[bool] = []
    for _ in range(14):
        world.publish()
        seen.append(serial(world, certificate_id) in serials(world))
        world.clock.advance(hours=1)
    # It was listed while it was valid, and in one CRL from after that.
    assert True in seen
    with world.transactions.reading() as session:
        assert session.exec(select(CrlSchedule.due_at).where(col(CrlSchedule.authority_id) == ISSUING)).one() is None
        assert not publication.is_needed(session, ISSUING, world.clock.now())
        assert publication.is_needed(session, ROOT, world.clock.now())
    last = head(world).number
    world.clock.advance(days=3)
    world.transactions.write(lambda session: publication.ensure_schedules(session, world.clock.now()))
    world.publish()
    assert head(world).number == last
