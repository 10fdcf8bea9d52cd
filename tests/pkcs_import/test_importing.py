"""Importing: whose files they are, what is kept of them, and that one bad file stops no other."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key
from sqlalchemy import func, insert, select
from sqlmodel import Session

from audit.records import AuditEvent
from ca.authorisation import PersonId
from ca.records import Certificate, CertificationAuthority
from foundation.errors import SignetryError, Unavailable
from foundation.tables import table_of
from foundation.transactions import Transactions
from people.person import PersonRecord
from pkcs_import import importing, keeping
from pkcs_import.errors import NoArchiveKey, NoSuchOwner, OwnerAmbiguous, WrongPassword
from pkcs_import.import_report import FileReport, Outcome, Totals
from pkcs_import.importing import Importer
from pkcs_import.keeping import Kept, KeptKey, Origin
from pkcs_import.purpose import Concern, Purpose
from pkcs_import.records import ArchivedCertificate, ArchivedKey, ImportedFile
from pkcs_import.sealing import Binding, SealedKey, unseal
from pkcs_import.sources import Source, Sources
from pkcs_import.trust import Trust
from pkcs_import.workshop import Workshop
from signetry.database import Database
from tests.ca.authorities import NOW
from tests.ca.foreign import foreign_root
from tests.clocks import ManualClock
from tests.pkcs_import.pfx_files import (
    ACTOR,
    PASSWORD,
    Wish,
    add_archive_key,
    add_person,
    certificate,
    der,
    pfx,
    simple_pfx,
    spki,
)


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    """Two processes, which the tests share."""
    with Workshop(2) as shared:
        yield shared


@pytest.fixture
def alice(store: Database) -> PersonRecord:
    return add_person(store, "alice", "a@example.com")


@pytest.fixture
def importer(store: Database, workshop: Workshop, clock: ManualClock, rsa_key: rsa.RSAPrivateKey) -> Importer:
    add_archive_key(store, rsa_key)
    return Importer(store, clock, ACTOR, workshop, at_once=2)


def source(data: bytes, line: int = 1, **more: Any) -> Source:  # noqa: ANN401 - the fields of a source
    """Return a file."""
    return Source(line, f"{line}.p12", lambda: data, **{"password": PASSWORD, **more})


def run(importer: Importer, *sources: Source) -> tuple[list[FileReport], Totals]:
    """Import files; return what is said of each, and the totals."""
    reports: list[FileReport] = []
    totals = importer.run(Sources(len(sources), iter(sources)), reports.append)
    return reports, totals


def imported(importer: Importer, data: bytes, **more: Any) -> FileReport:  # noqa: ANN401 - as above
    """Import one file."""
    ((report,), _) = run(importer, source(data, **more))
    return report


def keys_of(store: Transactions, person: PersonRecord) -> list[KeptKey]:
    """Return a person's keys."""
    with store.reading() as session:
        return keeping.keys_of(session, PersonId(person.id))


def count(store: Transactions, record: type[Any]) -> int:
    """Return how many rows there are."""
    with store.reading() as session:
        found: int = session.execute(select(func.count()).select_from(table_of(record))).scalar_one()
        return found


# --- whose they are ---


def test_a_file_is_kept_for_the_person_who_is_named(store: Database, importer: Importer, alice: PersonRecord) -> None:
    report = imported(importer, simple_pfx(), owner=alice.upn)
    assert (report.outcome, report.upn, report.notes) == (Outcome.IMPORTED, alice.upn, ())
    (key,) = keys_of(store, alice)
    assert (key.origin, key.algorithm) == (Origin.IMPORTED, "secp256r1")
    (kept,) = key.certificates
    assert (kept.subject, kept.purpose) == ("CN=Alice", Purpose.ENCRYPTION)


@pytest.mark.parametrize("address", ["alice@example.com", "A@EXAMPLE.COM"])
def test_where_nobody_is_named_the_mail_address_in_the_certificate_says_it(
    store: Database, importer: Importer, alice: PersonRecord, address: str
) -> None:
    assert imported(importer, simple_pfx(Wish((address,)))).upn == alice.upn
    assert len(keys_of(store, alice)) == 1


def test_where_no_address_is_on_record_the_upn_says_it(importer: Importer, alice: PersonRecord) -> None:
    assert imported(importer, simple_pfx(Wish(("other@example.org",), alice.upn))).upn == alice.upn


@pytest.mark.parametrize(
    ("wish", "owner", "reason"),
    [
        (Wish(("zoe@example.com",)), "", "nobody on record has zoe@example.com"),
        (Wish(()), "", "neither a mail address nor a UPN"),
        (Wish(), "zoe@corp.example.com", "nobody has the UPN or mail address zoe@corp.example.com"),
        (Wish(), "zoe", "nobody has the UPN, mail address or number zoe"),
        (Wish(("alice@example.com", "bob@example.com")), "", "of several persons: alice@corp.example.com, bob@corp.example.com"),
    ],
)
def test_a_file_that_is_nobodys_or_several_persons_is_refused(
    store: Database, importer: Importer, alice: PersonRecord, wish: Wish, owner: str, reason: str
) -> None:
    add_person(store, "bob")
    report = imported(importer, simple_pfx(wish), owner=owner)
    assert report.outcome is Outcome.REFUSED
    assert reason in report.reason
    assert keys_of(store, alice) == []


def test_a_file_that_names_somebody_else_than_its_owner_is_kept_and_remarked_on(importer: Importer, alice: PersonRecord) -> None:
    report = imported(importer, simple_pfx(Wish(("old.name@example.com",))), owner=alice.upn)
    assert report.outcome is Outcome.IMPORTED
    assert "name somebody else" in report.notes[0]


# --- what is kept ---


def test_the_seal_opens_with_the_archives_key_and_for_its_owner_alone(
    store: Database, importer: Importer, alice: PersonRecord, rsa_key: rsa.RSAPrivateKey
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    imported(importer, pfx(key, certificate(key)))
    with store.reading() as session:
        row = session.execute(select(table_of(ArchivedKey))).one()
    sealed = SealedKey(row.archive_key_id, row.wrapped_key, row.nonce, row.ciphertext)
    opened = load_der_private_key(unseal(rsa_key, sealed, Binding(row.uid, alice.id, row.spki_sha256)), None)
    assert spki(opened) == spki(key)


def test_a_renewed_certificate_over_the_same_key_is_added_to_it(store: Database, importer: Importer, alice: PersonRecord) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    first, second = certificate(key), certificate(key)
    assert imported(importer, pfx(key, first)).outcome is Outcome.IMPORTED
    assert imported(importer, pfx(key, second)).outcome is Outcome.IMPORTED
    assert [len(each.certificates) for each in keys_of(store, alice)] == [2]


def test_a_file_may_hold_what_is_wanted_for_one_purpose_alone(store: Database, importer: Importer, alice: PersonRecord) -> None:
    data = simple_pfx(Wish(purpose=Purpose.SIGNING))
    report = imported(importer, data, purpose=Purpose.ENCRYPTION)
    assert (report.outcome, report.reason) == (Outcome.REFUSED, "CN=Alice is for signing only")
    assert imported(importer, data, purpose=Purpose.SIGNING).outcome is Outcome.IMPORTED
    assert len(keys_of(store, alice)) == 1


def test_a_concern_is_remarked_on_and_the_settings_can_refuse_it(
    store: Database, importer: Importer, alice: PersonRecord
) -> None:
    data = simple_pfx(Wish(client_auth=True))
    refused = imported(replace(importer, refused={Concern.CLIENT_AUTH}), data)
    assert refused.reason == "CN=Alice allows clientAuth, which the settings keep out of the archive"
    taken = imported(importer, data)
    assert (taken.outcome, taken.notes) == (Outcome.IMPORTED, ("CN=Alice allows clientAuth",))
    assert keys_of(store, alice)[0].certificates[0].concerns == (Concern.CLIENT_AUTH,)


def test_each_certificate_kept_is_told_to_the_listeners_once(importer: Importer, alice: PersonRecord) -> None:
    told: list[Kept] = []
    listening = replace(importer, listeners=[lambda _session, kept: told.append(kept)])
    data = simple_pfx()
    imported(listening, data)
    imported(listening, data)
    assert [(each.person, each.origin) for each in told] == [(alice.id, Origin.IMPORTED)]


def test_what_is_kept_is_on_the_audit_record(store: Database, importer: Importer, alice: PersonRecord) -> None:
    imported(importer, simple_pfx())
    with store.reading() as session:
        (event,) = session.execute(select(table_of(AuditEvent)).where(table_of(AuditEvent).c.action == "key.archived")).all()
    assert event.details["person"] == alice.id
    assert PASSWORD not in str(event)


def test_a_certificate_of_ours_is_recognised_and_kept_as_such(store: Database, importer: Importer, alice: PersonRecord) -> None:
    root, key = foreign_root(), ec.generate_private_key(ec.SECP256R1())
    own = certificate(key, Wish(issuer=root))

    def act(session: Session) -> int:
        authorities, certificates = table_of(CertificationAuthority), table_of(Certificate)
        row = {"name": "root", "key_algorithm": "p256", "created_at": NOW}
        authority = session.execute(insert(authorities).returning(authorities.c.id), row).scalar_one()
        number = 0
        for each, certifies in ((root.certificate, authority), (own, None)):
            public = each.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            values = {
                "authority_id": authority,
                "serial": f"{each.serial_number:x}",
                "profile": "",
                "subject": "",
                "certifies_id": certifies,
                "spki_sha256": hashlib.sha256(public).hexdigest(),
                **dict.fromkeys(("not_before", "not_after", "issued_at"), NOW),
                "der": der(each),
            }
            number = session.execute(insert(certificates).returning(certificates.c.id), values).scalar_one()
        return number

    number = store.write(act)
    report = imported(importer, pfx(key, own))
    assert [each.trust for each in report.certificates] == [Trust.OURS]
    assert [each.certificate_id for each in keys_of(store, alice)[0].certificates] == [number]


# --- again, and in between ---


def test_a_file_that_was_imported_is_there_already_and_is_not_opened_again(
    store: Database, importer: Importer, alice: PersonRecord
) -> None:
    data = simple_pfx()
    imported(importer, data)
    report = imported(importer, data, password="wrong")
    assert (report.outcome, report.upn) == (Outcome.PRESENT, alice.upn)
    assert imported(importer, data, password="wrong", owner=alice.upn).outcome is Outcome.PRESENT
    assert len(keys_of(store, alice)) == 1


def test_the_same_key_in_another_file_is_there_already(store: Database, importer: Importer, alice: PersonRecord) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    own = certificate(key)
    imported(importer, pfx(key, own))
    report = imported(importer, pfx(key, own, password="x"), password="x")
    assert report.outcome is Outcome.PRESENT
    assert [len(each.certificates) for each in keys_of(store, alice)] == [1]
    assert count(store, ImportedFile) == 2


def test_a_file_in_one_import_twice_is_kept_once(store: Database, importer: Importer, alice: PersonRecord) -> None:
    data = simple_pfx()
    reports, _ = run(importer, source(data, 1), source(data, 2))
    assert [each.outcome for each in reports] == [Outcome.IMPORTED, Outcome.PRESENT]
    assert len(keys_of(store, alice)) == 1


def test_a_file_of_two_owners_is_kept_for_each_who_is_named(store: Database, importer: Importer, alice: PersonRecord) -> None:
    bob = add_person(store, "bob")
    data = simple_pfx()
    assert imported(importer, data, owner=alice.upn).outcome is Outcome.IMPORTED
    assert imported(importer, data, owner=bob.upn).outcome is Outcome.IMPORTED
    assert len(keys_of(store, alice)) == len(keys_of(store, bob)) == 1


@pytest.mark.usefixtures("alice")
def test_what_was_left_out_is_taken_when_the_settings_allow_it(store: Database, importer: Importer) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    fine, doubtful = certificate(key), certificate(key, Wish(client_auth=True, common_name="Alice 2"))
    data = pfx(key, fine, doubtful)
    report = imported(replace(importer, refused={Concern.CLIENT_AUTH}), data)
    assert report.outcome is Outcome.IMPORTED
    assert report.notes[0].startswith("not imported: CN=Alice 2 allows clientAuth")
    assert count(store, ArchivedCertificate) == 1
    assert imported(importer, data).outcome is Outcome.IMPORTED
    assert count(store, ArchivedCertificate) == 2


def test_a_dry_run_finds_the_same_and_stores_nothing(store: Database, importer: Importer, alice: PersonRecord) -> None:
    present = simple_pfx()
    imported(importer, present)
    rehearsed = replace(importer, dry_run=True)
    reports, totals = run(rehearsed, source(present, 1), source(simple_pfx(), 2), source(b"rubbish", 3))
    assert [each.outcome for each in reports] == [Outcome.PRESENT, Outcome.IMPORTED, Outcome.REFUSED]
    assert totals.dry_run
    assert len(keys_of(store, alice)) == 1
    assert count(store, ImportedFile) == 1


@pytest.mark.usefixtures("alice")
def test_one_bad_file_stops_no_other_and_the_order_stays(importer: Importer) -> None:
    good = [simple_pfx() for _ in range(3)]
    sources = [
        source(good[0], 1),
        source(b"rubbish", 2),
        source(simple_pfx(), 3, password="wrong"),
        source(good[1], 4, problem="it has 7 columns"),
        source(good[1], 5),
        source(simple_pfx(Wish(("zoe@example.com",))), 6),
        source(good[2], 7),
    ]
    reports, totals = run(importer, *sources)
    assert [each.line for each in reports] == [1, 2, 3, 4, 5, 6, 7]
    assert [each.line for each in reports if each.outcome is Outcome.IMPORTED] == [1, 5, 7]
    assert [bool(each.reason) for each in reports] == [False, True, True, True, False, True, False]
    assert (totals.counts[Outcome.IMPORTED], totals.counts[Outcome.REFUSED]) == (3, 4)


@pytest.mark.usefixtures("alice")
def test_an_interrupt_keeps_what_was_begun_and_the_next_run_goes_on(
    store: Database, importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = [simple_pfx() for _ in range(6)]

    def interrupted() -> Iterator[Source]:
        yield from (source(each, line) for line, each in enumerate(data[:4], 1))
        raise KeyboardInterrupt

    monkeypatch.setattr(importing, "BATCH", 2)
    reports: list[FileReport] = []
    totals = replace(importer, at_once=1).run(Sources(6, interrupted()), reports.append)
    assert totals.interrupted
    assert count(store, ArchivedKey) == len(reports) == totals.files < 6
    second, _ = run(importer, *(source(each, line) for line, each in enumerate(data, 1)))
    assert [each.outcome for each in second[: len(reports)]] == [Outcome.PRESENT] * len(reports)
    assert count(store, ArchivedKey) == 6


@pytest.mark.usefixtures("alice")
def test_two_imports_of_the_same_files_at_once_keep_each_once(store: Database, importer: Importer) -> None:
    data = [simple_pfx() for _ in range(8)]
    outcomes: list[list[Outcome]] = []

    def act() -> None:
        reports, _ = run(importer, *(source(each, line) for line, each in enumerate(data, 1)))
        outcomes.append([each.outcome for each in reports])

    threads = [threading.Thread(target=act) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(store, ArchivedKey) == 8
    assert sorted(one[line] for line in range(8) for one in outcomes) == [Outcome.PRESENT] * 8 + [Outcome.IMPORTED] * 8


@pytest.mark.usefixtures("alice")
def test_a_database_that_goes_away_ends_the_import_and_is_not_taken_for_a_bad_file(
    store: Database, importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_act: Callable[[Session], object]) -> object:
        raise Unavailable("the database is not there")

    monkeypatch.setattr(store, "write", away)
    with pytest.raises(Unavailable):
        run(importer, source(simple_pfx()))


def test_without_an_archive_key_nothing_is_opened(store: Database, workshop: Workshop, clock: ManualClock) -> None:
    def never() -> bytes:
        pytest.fail("it was read")

    with pytest.raises(NoArchiveKey, match="signetry archive create"):
        run(Importer(store, clock, ACTOR, workshop), Source(1, "a.p12", never))


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize(
    ("wish", "password", "error"),
    [
        (Wish(), "wrong", WrongPassword),
        (Wish(("zoe@example.com",)), PASSWORD, NoSuchOwner),
    ],
)
def test_a_single_file_that_is_refused_is_an_error_of_its_kind(
    importer: Importer, wish: Wish, password: str, error: type[SignetryError]
) -> None:
    with pytest.raises(error):
        importer.import_one(source(simple_pfx(wish), password=password))
    assert importer.import_one(source(simple_pfx())).outcome is Outcome.IMPORTED


def test_several_owners_are_a_conflict(store: Database, importer: Importer, alice: PersonRecord) -> None:
    bob = add_person(store, "bob")
    with pytest.raises(OwnerAmbiguous):
        importer.import_one(source(simple_pfx(Wish((alice.email, bob.email)))))


def test_progress_is_told_with_how_many_there_are(importer: Importer, alice: PersonRecord) -> None:
    told: list[tuple[int, int]] = []
    sources = Sources(3, iter([source(simple_pfx(), line, owner=alice.upn) for line in (1, 2, 3)]))
    importer.run(sources, lambda _report: None, lambda done, of: told.append((done, of)))
    assert told[-1] == (3, 3)
