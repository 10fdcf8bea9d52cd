"""Revocation states, their record, and the CRL entry."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select as sql_select
from sqlmodel import Session, col, select

from audit.log import Actor
from audit.records import AuditEvent
from ca import revocation, selection
from ca.errors import AlreadyRevoked, BadRevocation, BadSerial, NotOnHold, SelfRevocation, UnknownCertificate
from ca.records import Certificate
from ca.revocation import RevocationReason, RevokedCertificate, encode_entry
from ca.selection import Criteria, Holders, Status
from crl.build import CrlContent, Entries, build
from foundation.tables import table_of
from signetry.database import Database
from tests.clocks import ManualClock
from tests.crl.world import ROOT, World

ACTOR = Actor("cli:tester")
Reason = RevocationReason


class _Desk:
    """Somebody who revokes, and what the listeners heard."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.heard: list[RevokedCertificate] = []

    def revoke(self, certificate_id: int, reason: Reason, since: datetime | None = None) -> RevokedCertificate:
        return self._act(
            lambda session, **how: revocation.revoke(session, [certificate_id], reason, invalidity_date=since, **how)
        )

    def hold(self, certificate_id: int) -> RevokedCertificate:
        return self._act(lambda session, **how: revocation.hold(session, [certificate_id], **how))

    def release(self, certificate_id: int) -> RevokedCertificate:
        return self._act(lambda session, **how: revocation.release(session, [certificate_id], **how))

    def _act(self, act: Callable[..., list[RevokedCertificate]]) -> RevokedCertificate:
        now = self.world.clock.now()
        listeners = [lambda _session, revoked: self.heard.append(revoked)]
        return self.world.transactions.write(lambda session: act(session, actor=ACTOR, now=now, listeners=listeners))[0]

    def row(self, certificate_id: int) -> Certificate:
        with self.world.transactions.reading() as session:
            return session.exec(select(Certificate).where(col(Certificate.id) == certificate_id)).one()

    def audited(self) -> list[str]:
        with self.world.transactions.reading() as session:
            return [event.action for event in session.exec(select(AuditEvent).order_by(col(AuditEvent.id)))]


@pytest.fixture
def desk(store: Database, clock: ManualClock, ec_key: ec.EllipticCurvePrivateKey) -> _Desk:
    return _Desk(World(store, clock, ec_key, ec_key))


def test_every_reason_revokes_and_stores_the_entry(desk: _Desk, clock: ManualClock) -> None:
    for reason in (reason for reason in Reason if reason not in (Reason.REMOVE_FROM_CRL, Reason.CERTIFICATE_HOLD)):
        certificate = desk.world.issue()
        revoked = desk.revoke(certificate, reason)
        row = desk.row(certificate)
        assert (revoked.reason, revoked.revoked_at, revoked.changed) == (reason, clock.now(), True)
        assert (row.revocation_reason, row.revoked_at) == (reason, clock.now())
        assert row.crl_entry == encode_entry(int(row.serial, 16), clock.now(), reason)
        assert desk.heard[-1] == revoked
    assert desk.audited() == ["certificate.revoked"] * 8


def test_the_audit_event_names_certificate_actor_and_reason(desk: _Desk) -> None:
    certificate = desk.world.issue(person=7)
    desk.revoke(certificate, Reason.KEY_COMPROMISE)
    with desk.world.transactions.reading() as session:
        event = session.exec(select(AuditEvent)).one()
    assert (event.subject, event.actor) == (f"certificate:{desk.row(certificate).serial}", "cli:tester")
    assert (event.details["reason"], event.details["person"]) == ("keyCompromise", 7)


def test_removeFromCRL_is_no_reason(desk: _Desk) -> None:  # noqa: N802 - RFC 5280's name
    with pytest.raises(BadRevocation):
        desk.revoke(desk.world.issue(), Reason.REMOVE_FROM_CRL)


def test_repeating_a_revocation_changes_and_records_nothing(desk: _Desk, clock: ManualClock) -> None:
    certificate = desk.world.issue()
    first = desk.revoke(certificate, Reason.SUPERSEDED)
    clock.advance(hours=1)
    again = desk.revoke(certificate, Reason.SUPERSEDED)
    assert (again.revoked_at, again.changed) == (first.revoked_at, False)
    assert desk.audited() == ["certificate.revoked"]
    assert len(desk.heard) == 1


def test_a_revoked_certificate_keeps_its_reason(desk: _Desk) -> None:
    certificate = desk.world.issue()
    desk.revoke(certificate, Reason.SUPERSEDED)
    with pytest.raises(AlreadyRevoked):
        desk.revoke(certificate, Reason.CESSATION_OF_OPERATION)
    with pytest.raises(AlreadyRevoked):
        desk.hold(certificate)
    assert desk.row(certificate).revocation_reason == Reason.SUPERSEDED


def test_the_reason_may_become_keyCompromise_and_the_date_stays(desk: _Desk, clock: ManualClock) -> None:  # noqa: N802
    certificate = desk.world.issue()
    first = desk.revoke(certificate, Reason.SUPERSEDED)
    clock.advance(days=1)
    changed = desk.revoke(certificate, Reason.KEY_COMPROMISE)
    assert (changed.reason, changed.revoked_at, changed.changed) == (Reason.KEY_COMPROMISE, first.revoked_at, True)
    assert len(desk.heard) == 2


def test_hold_and_release_make_a_certificate_good_again(desk: _Desk) -> None:
    certificate = desk.world.issue()
    assert desk.hold(certificate).reason is Reason.CERTIFICATE_HOLD
    released = desk.release(certificate)
    row = desk.row(certificate)
    assert (row.revoked_at, row.revocation_reason, row.crl_entry, released.reason) == (None, None, None, None)
    assert desk.audited() == ["certificate.held", "certificate.released"]


def test_only_a_certificate_on_hold_can_be_released(desk: _Desk) -> None:
    certificate = desk.world.issue()
    with pytest.raises(NotOnHold):
        desk.release(certificate)
    desk.revoke(certificate, Reason.SUPERSEDED)
    with pytest.raises(NotOnHold):
        desk.release(certificate)


def test_revoking_what_is_on_hold_keeps_the_date_of_the_hold(desk: _Desk, clock: ManualClock) -> None:
    certificate = desk.world.issue()
    held = desk.hold(certificate)
    clock.advance(days=3)
    revoked = desk.revoke(certificate, Reason.CESSATION_OF_OPERATION)
    assert (revoked.reason, revoked.revoked_at) == (Reason.CESSATION_OF_OPERATION, held.revoked_at)


def test_an_invalidity_date_stands_in_the_entry(desk: _Desk, clock: ManualClock) -> None:
    certificate = desk.world.issue()
    clock.advance(days=10)
    since = clock.now() - timedelta(days=3)
    desk.revoke(certificate, Reason.KEY_COMPROMISE, since)
    row = desk.row(certificate)
    assert row.invalidity_date == since
    assert row.crl_entry == encode_entry(int(row.serial, 16), clock.now(), Reason.KEY_COMPROMISE, since)


def test_an_invalidity_date_in_the_future_is_refused(desk: _Desk, clock: ManualClock) -> None:
    certificate = desk.world.issue()
    with pytest.raises(BadRevocation):
        desk.revoke(certificate, Reason.KEY_COMPROMISE, clock.now() + timedelta(days=1))
    assert desk.row(certificate).revoked_at is None


def test_an_invalidity_date_may_lie_before_the_certificate(desk: _Desk, clock: ManualClock) -> None:
    """The phone was lost on Friday, its certificate renewed on Saturday."""
    certificate = desk.world.issue()
    since = clock.now() - timedelta(days=3)
    desk.revoke(certificate, Reason.KEY_COMPROMISE, since)
    assert desk.row(certificate).invalidity_date == since


def test_all_are_revoked_or_none(desk: _Desk, clock: ManualClock) -> None:
    first, second = desk.world.issue(), desk.world.issue()
    desk.revoke(second, Reason.SUPERSEDED)

    def both(session: Session) -> None:
        revocation.revoke(session, [first, second], Reason.PRIVILEGE_WITHDRAWN, actor=ACTOR, now=clock.now())

    with pytest.raises(AlreadyRevoked):
        desk.world.transactions.write(both)
    assert desk.row(first).revoked_at is None
    assert desk.audited() == ["certificate.revoked"]


def test_a_root_revokes_its_issuing_ca_but_not_itself(desk: _Desk) -> None:
    with desk.world.transactions.reading() as session:
        rows = session.exec(select(Certificate).where(col(Certificate.authority_id) == ROOT).order_by(col(Certificate.id))).all()
    own, issuing = (row.id or 0 for row in rows)
    assert desk.revoke(issuing, Reason.CESSATION_OF_OPERATION).authority_id == ROOT
    with pytest.raises(SelfRevocation):
        desk.revoke(own, Reason.CESSATION_OF_OPERATION)


def test_of_two_who_revoke_at_once_one_is_told_so(desk: _Desk) -> None:
    certificate = desk.world.issue()
    together = Barrier(2)

    def attempt(reason: Reason) -> str:
        together.wait(timeout=10)
        try:
            return str(desk.revoke(certificate, reason).reason)
        except AlreadyRevoked:
            return "refused"

    with ThreadPoolExecutor(2) as pool:
        results = sorted(pool.map(attempt, [Reason.SUPERSEDED, Reason.CESSATION_OF_OPERATION]))
    assert results.count("refused") == 1
    assert desk.row(certificate).revocation_reason in results
    assert desk.audited() == ["certificate.revoked"]


def test_an_unknown_certificate_is_refused(desk: _Desk) -> None:
    with pytest.raises(UnknownCertificate):
        desk.revoke(4711, Reason.SUPERSEDED)


# --- selection ---


def test_a_serial_is_found_however_it_is_written(desk: _Desk, clock: ManualClock) -> None:
    serial = desk.row(desk.world.issue()).serial
    colons = ":".join(serial[i : i + 2] for i in range(0, len(serial), 2))
    with desk.world.transactions.reading() as session:
        for text in (serial, serial.upper(), f"0x{serial}", colons, colons.upper(), f" {serial} ", f"00{serial}"):
            assert selection.by_serial(session, text, now=clock.now()).serial == serial
        with pytest.raises(UnknownCertificate):
            selection.by_serial(session, "abc", now=clock.now())


@pytest.mark.parametrize("text", ["", "0x", "xyz", "0", "-1", "a" * 41, str(2**126 + 5)])
def test_what_is_no_hexadecimal_serial_is_refused(text: str) -> None:
    with pytest.raises(BadSerial):
        selection.parse_serial(text)


def test_a_decimal_serial_is_refused_by_name() -> None:
    with pytest.raises(BadSerial, match="decimal"):
        selection.parse_serial(str(2**126 + 5))


def test_certificates_are_listed_by_person_status_and_expiry(desk: _Desk, clock: ManualClock) -> None:
    world, now = desk.world, clock.now()
    good, soon, held, gone = (
        world.issue(person=1),
        world.issue(person=1, not_after=now + timedelta(days=10)),
        world.issue(person=1),
        world.issue(person=1, not_after=now + timedelta(days=1)),
    )
    revoked, stranger = world.issue(person=1), world.issue(person=2)
    desk.hold(held)
    desk.revoke(revoked, Reason.SUPERSEDED)
    clock.advance(days=2)

    def ids(criteria: Criteria) -> list[int]:
        with world.transactions.reading() as session:
            return sorted(item.id for item in selection.matching(session, criteria, now=clock.now()))

    assert ids(Criteria(person_id=2)) == [stranger]
    assert ids(Criteria(person_id=1, status=Status.GOOD)) == [good, soon]
    assert ids(Criteria(person_id=1, status=Status.EXPIRED)) == [gone]
    assert ids(Criteria(status=Status.ON_HOLD)) == [held]
    assert ids(Criteria(status=Status.REVOKED)) == [revoked]
    assert ids(Criteria(person_id=1, expiring_before=clock.now() + timedelta(days=30))) == [soon]
    with world.transactions.reading() as session:
        found = selection.revocable(session, Criteria(person_id=1), now=clock.now())
    assert sorted(item.id for item in found) == [good, soon, held]


def test_for_those_who_see_some_holders_only_no_other_certificates_exist(desk: _Desk, clock: ManualClock) -> None:
    world, now = desk.world, clock.now()
    own, other, _ = world.issue(person=1), world.issue(person=2), world.issue()
    profile, serial = desk.row(own).profile, desk.row(other).serial
    table = table_of(Certificate).c
    persons = sql_select(table.person_id).where(table.person_id == 1)
    holders = Holders(persons, sql_select(table.device_id).where(table.device_id.is_not(None)))

    def ids(criteria: Criteria, before: int | None = None) -> list[int]:
        with world.transactions.reading() as session:
            return [item.id for item in selection.matching(session, criteria, now=now, before=before, limit=1)]

    assert ids(Criteria(holders=holders)) == [own]
    assert ids(Criteria(holders=holders), before=own) == []
    assert ids(Criteria(person_id=2, holders=holders)) == []
    assert ids(Criteria(person_id=1, profiles=frozenset({profile}))) == [own]
    assert ids(Criteria(person_id=1, profiles=frozenset({"another"}))) == []
    with world.transactions.reading() as session:
        assert selection.by_serial(session, desk.row(own).serial, now=now, holders=holders).id == own
        with pytest.raises(UnknownCertificate):
            selection.by_serial(session, serial, now=now, holders=holders)


# --- the entry ---

_KEY = ec.derive_private_key(4711, ec.SECP256R1())
_MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2150, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001


@given(
    serial=st.integers(1, 2**159 - 1),
    revoked_at=_MOMENTS,
    reason=st.sampled_from([r for r in Reason if r is not Reason.REMOVE_FROM_CRL]),
    since=st.none() | _MOMENTS,
)
def test_an_entry_is_what_cryptography_would_write(
    serial: int, revoked_at: datetime, reason: Reason, since: datetime | None
) -> None:
    builder = x509.RevokedCertificateBuilder(serial, revoked_at.replace(microsecond=0))
    if reason is not Reason.UNSPECIFIED:
        builder = builder.add_extension(x509.CRLReason(x509.ReasonFlags(reason.value)), critical=False)
    if since is not None:
        builder = builder.add_extension(x509.InvalidityDate(since.replace(microsecond=0, tzinfo=None)), critical=False)
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.Name([]))
        .last_update(datetime(2026, 1, 1, tzinfo=UTC))
        .next_update(datetime(2026, 1, 2, tzinfo=UTC))
        .add_revoked_certificate(builder.build())
        .sign(_KEY, hashes.SHA256())
    )
    assert encode_entry(serial, revoked_at, reason, since) in crl.tbs_certlist_bytes


def test_a_built_crl_reads_back_as_the_entries_given(desk: _Desk, ec_key: ec.EllipticCurvePrivateKey, clock: ManualClock) -> None:
    since = clock.now() - timedelta(days=1)
    entries = [encode_entry(n + 1, clock.now(), reason, since) for n, reason in enumerate(Reason)]
    content = CrlContent(9, clock.now(), clock.now() + timedelta(days=1))
    crl = x509.load_der_x509_crl(build(desk.world.root_certificate, ec_key, Entries.collect(entries), content).der)
    for entry, reason in zip(crl, Reason, strict=True):
        found = {type(extension.value): extension.value for extension in entry.extensions}
        assert entry.revocation_date_utc == clock.now()
        assert found[x509.InvalidityDate] == x509.InvalidityDate(since.replace(tzinfo=None))
        expected = None if reason is Reason.UNSPECIFIED else x509.CRLReason(x509.ReasonFlags(reason.value))
        assert found.get(x509.CRLReason) == expected
