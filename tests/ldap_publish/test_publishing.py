"""Publishing, against a directory in memory that fails where it should; both databases."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog
from cryptography import x509

from ca.profiles import IDENTITY, SMIME_SIGNING
from ca.revocation import RevocationReason
from ldap_publish.directory import DirectoryKind, Policy, SmimeAttribute
from ldap_publish.errors import DirectoryUnavailable, EntryRefused
from ldap_publish.outbox import Subject
from ldap_publish.publishing import Batch
from ldap_publish.records import SubjectKind
from ldap_publish.status import Condition
from ldap_publish.template import FilterTemplate
from tests.ldap_publish.world import AUTHORITIES, PEOPLE, World, creating, directory_of

ROOT, ISSUING = 1, 2


class Killed(BaseException):
    """Stands for kill -9."""


def down(_operation: str, _dn: str) -> None:
    raise DirectoryUnavailable("ldap://127.0.0.1:9: connection refused")


def refusing(code: int, *, of: str) -> Callable[[str, str], None]:
    """Refuse every change of one entry."""

    def interfere(operation: str, dn: str) -> None:
        if operation in ("modify", "add") and dn == of:
            raise EntryRefused(code, "insufficientAccessRights", "no write access", dn)

    return interfere


def test_a_certificate_arrives_and_leaves_when_it_is_revoked(world: World) -> None:
    dn = world.fake.add_person("alice")
    number = world.issue(world.add())
    assert world.backlog().pending == 1
    assert world.run() == Batch(done=1)
    assert world.certificates(dn) == [world.der(number)]
    assert world.check() == []
    assert (world.backlog().pending, world.backlog().oldest) == (0, None)
    world.revoke(number)
    assert [str(each.kind) for each in world.check()] == ["unexpected"]
    assert world.run() == Batch(done=1)
    assert world.certificates(dn) == []
    assert world.check() == []
    assert world.placed() == set()


def test_what_has_not_been_handed_out_is_not_published_and_takes_nobodys_place(world: World) -> None:
    dn = world.fake.add_person("alice")
    alice = world.add()
    held = world.issue(alice)
    coming = world.issue(alice, renews=held)
    withheld = {coming}
    world.sources = replace(world.sources, withheld=lambda _session: withheld)
    world.run()
    assert world.certificates(dn) == [world.der(held)]
    withheld.clear()
    world.owe_again()
    world.run()
    assert world.certificates(dn) == [world.der(coming)]


def test_one_search_and_one_change_a_person(sqlite_world: World) -> None:
    world = sqlite_world
    world.fake.add_person("alice")
    world.issue(world.add())
    world.run()
    assert [operation for operation, _ in world.fake.operations] == ["find", "modify"]


def test_on_hold_is_out_and_released_is_in_again(world: World) -> None:
    dn = world.fake.add_person("alice")
    number = world.issue(world.add())
    world.run()
    world.revoke(number, reason=RevocationReason.CERTIFICATE_HOLD)
    world.run()
    assert world.certificates(dn) == []
    world.release(number)
    world.run()
    assert world.certificates(dn) == [world.der(number)]


def test_an_expired_certificate_leaves_without_anything_happening(world: World) -> None:
    dn = world.fake.add_person("alice")
    number = world.issue(world.add(), validity=timedelta(days=10))
    world.run()
    assert world.next_due() == x509.load_der_x509_certificate(world.der(number)).not_valid_after_utc
    world.clock.advance(days=9)
    assert world.run() == Batch()
    world.clock.advance(days=2)
    assert world.backlog().pending == 1
    assert world.run() == Batch(done=1)
    assert world.certificates(dn) == []
    assert world.next_due() is None


def test_a_renewal_takes_the_place_of_its_predecessor_until_it_is_revoked(world: World) -> None:
    dn = world.fake.add_person("alice")
    person = world.add()
    first = world.issue(person)
    second = world.issue(person, renews=first)
    world.run()
    assert world.certificates(dn) == [world.der(second)]
    world.revoke(second)
    world.run()
    assert world.certificates(dn) == [world.der(first)]


@pytest.mark.parametrize("kind", list(DirectoryKind))
def test_values_of_others_stay(sqlite_world: World, kind: DirectoryKind) -> None:
    world = sqlite_world
    directory = world.use(replace(directory_of(kind), smime_attribute=SmimeAttribute.CERTS_ONLY))
    world.note()
    dn = world.fake.add_person("alice")
    dialect = directory.dialect
    theirs = {dialect.user_certificate: b"theirs", dialect.user_smime: b"theirs too", "description": b"hello"}
    for attribute, value in theirs.items():
        world.fake.touch(dn, attribute, value)
    number = world.issue(world.add())
    assert world.run() == Batch(done=1)
    assert world.certificates(dn) == [b"theirs", world.der(number)]
    assert len(world.fake.values(dn, dialect.user_smime)) == 2
    assert world.check() == []
    world.revoke(number)
    world.run()
    assert {attribute: world.fake.values(dn, attribute) for attribute in theirs} == {
        attribute: [value] for attribute, value in theirs.items()
    }


def test_only_what_mail_is_encrypted_with_is_published_unless_all_is_asked_for(world: World) -> None:
    dn = world.fake.add_person("alice")
    person = world.add()
    signing, identity, dual = world.issue(person, SMIME_SIGNING.name), world.issue(person, IDENTITY.name), world.issue(person)
    world.run()
    assert world.certificates(dn) == [world.der(dual)]
    world.use(replace(world.directory, publish=Policy.ALL))
    assert world.note() == ["main"]
    world.run()
    assert world.certificates(dn) == [world.der(dual), world.der(signing), world.der(identity)]
    world.use(replace(world.directory, publish=Policy.ENCRYPTION))
    assert world.note() == ["main"]
    assert world.note() == []
    world.run()
    assert world.certificates(dn) == [world.der(dual)]


def test_an_entry_that_is_missing_is_waited_for(world: World) -> None:
    number = world.issue(world.add())
    assert world.run() == Batch(waiting=1)
    report = world.report()
    assert report.condition is Condition.OK
    assert (report.backlog.pending, report.backlog.failed, report.backlog.waiting) == (1, 0, 1)
    assert report.failures[0].error == f"no entry matches (mail=alice@example.com) below {PEOPLE}"
    assert [str(each.kind) for each in world.check()] == ["no-entry"]
    dn = world.fake.add_person("alice")
    assert world.run() == Batch()
    world.clock.advance(seconds=5)
    assert world.run() == Batch(done=1)
    assert world.certificates(dn) == [world.der(number)]
    assert world.backlog().waiting == 0


def test_an_entry_that_is_missing_is_created_if_the_settings_say_so(world: World) -> None:
    world.use(creating(world.directory))
    world.note()
    number = world.issue(world.add(display_name='Smith, "Al" + Söhne #1', surname="Smith"))
    assert world.run() == Batch(done=1)
    dn = rf"cn=Smith\, \"Al\" \+ Söhne \#1,{PEOPLE}"
    assert world.fake.entries[dn] == {
        "objectclass": [b"inetOrgPerson"],
        "cn": ['Smith, "Al" + Söhne #1'.encode()],
        "sn": [b"Smith"],
        "mail": [b"alice@example.com"],
        "displayname": ['Smith, "Al" + Söhne #1'.encode()],
        "usercertificate;binary": [world.der(number)],
    }
    assert world.check() == []
    assert world.run() == Batch()


def test_an_entry_is_created_so_that_the_filter_finds_it(sqlite_world: World) -> None:
    world = sqlite_world
    world.use(replace(creating(world.directory), search_filter=FilterTemplate("(employeeNumber={employee_code})")))
    world.note()
    first = world.issue(world.add(employee_code="E-1"))
    world.run()
    second = world.issue(world.add("bob", employee_code="E-2"))
    world.run()
    assert world.check() == []
    assert [world.certificates(f"cn={name},{PEOPLE}") for name in ("alice", "bob")] == [[world.der(first)], [world.der(second)]]


def test_an_entry_of_the_name_that_the_filter_does_not_match_is_left_alone(sqlite_world: World) -> None:
    world = sqlite_world
    world.use(creating(world.directory))
    world.note()
    dn = world.fake.add_person("alice", "another@example.com")
    before = dict(world.fake.entries[dn])
    world.issue(world.add())
    assert world.run() == Batch(failed=1)
    assert world.fake.entries[dn] == before
    assert "the search filter does not match it" in world.report().failures[0].error


def test_several_matching_entries_are_one_too_many(sqlite_world: World) -> None:
    world = sqlite_world
    entries = [world.fake.add_person(name, "alice@example.com") for name in ("alice", "alice2")]
    world.issue(world.add())
    assert world.run() == Batch(failed=1)
    assert [world.certificates(dn) for dn in entries] == [[], []]
    error = world.report().failures[0].error
    assert "matches several entries" in error
    assert "make search_filter match this person's entry and no other" in error


def test_without_the_field_the_filter_asks_for_nobody_is_searched(sqlite_world: World) -> None:
    world = sqlite_world
    world.use(replace(world.directory, search_filter=FilterTemplate("(employeeNumber={employee_code})")))
    world.note()
    world.issue(world.add())
    assert world.run() == Batch(waiting=1)
    assert "has no employee_code" in world.report().failures[0].error
    assert world.fake.operations == []


def test_who_gets_another_address_is_published_in_the_entry_that_has_it(world: World) -> None:
    before, after = world.fake.add_person("alice"), world.fake.add_person("alicia", "alicia@example.com")
    world.fake.touch(before, "userCertificate;binary", b"theirs")
    person = world.add()
    number = world.issue(person)
    world.run()
    world.change(person, email="alicia@example.com")
    assert world.run() == Batch(done=1)
    assert (world.certificates(before), world.certificates(after)) == ([b"theirs"], [world.der(number)])
    assert world.placed() == {(after, "userCertificate;binary")}
    assert world.check() == []


def test_an_entry_that_was_renamed_keeps_what_is_ours(world: World) -> None:
    dn = world.fake.add_person("alice")
    person = world.add()
    number = world.issue(person)
    world.run()
    renamed = f"cn=Alice,ou=sales,{PEOPLE}"
    world.fake.entries[renamed] = world.fake.entries.pop(dn)
    world.revoke(number)
    newer = world.issue(person)
    assert world.run() == Batch(done=1)
    assert world.certificates(renamed) == [world.der(newer)]
    assert world.placed() == {(renamed, "userCertificate;binary")}


def test_while_no_entry_matches_any_more_the_good_stays_and_the_revoked_leaves(sqlite_world: World) -> None:
    world = sqlite_world
    dn = world.fake.add_person("alice")
    person = world.add()
    one, two = world.issue(person, device=1), world.issue(person, device=2)
    world.run()
    world.fake.entries[dn]["mail"] = [b"nobody@example.com"]
    world.revoke(one)
    assert world.run() == Batch(waiting=1)
    assert world.certificates(dn) == [world.der(two)]
    world.revoke(two)
    assert world.run() == Batch(done=1)
    assert world.certificates(dn) == []


def test_a_directory_that_is_down_postpones_what_it_is_owed_and_says_so_once(world: World) -> None:
    dn = world.fake.add_person("alice")
    number = world.issue(world.add())
    world.fake.interfere = down
    with structlog.testing.capture_logs() as logs:
        assert world.run().unavailable == "ldap://127.0.0.1:9: connection refused"
        started = world.clock.now()
        assert world.next_due() == started + timedelta(seconds=1)
        pauses = []
        for _ in range(10):
            world.clock.set(world.next_due())  # type: ignore[arg-type]
            world.run()
            pauses.append((world.next_due() - world.clock.now()).total_seconds())  # type: ignore[operator]
        assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
        report = world.report()
        assert (report.condition, report.error) == (Condition.UNREACHABLE, "ldap://127.0.0.1:9: connection refused")
        assert report.failing_since == started
        assert (report.backlog.pending, report.backlog.failed, report.failures) == (1, 0, ())
        world.fake.interfere = lambda *_: None
        assert world.run() == Batch(done=1)
    assert [log["event"] for log in logs] == ["directory cannot be used", "directory works again"]
    assert world.certificates(dn) == [world.der(number)]
    assert world.report().condition is Condition.OK


def test_an_entry_that_is_refused_keeps_no_other_from_its_turn(world: World) -> None:
    refused, fine = world.fake.add_person("alice"), world.fake.add_person("bob")
    world.issue(world.add())
    number = world.issue(world.add("bob"))
    world.fake.interfere = refusing(50, of=refused)
    assert world.run() == Batch(done=1, failed=1)
    assert world.certificates(fine) == [world.der(number)]
    report = world.report()
    assert report.condition is Condition.FAILING
    (failure,) = report.failures
    assert (failure.subject, failure.entry, failure.failures) == ("alice@corp.example.com", refused, 1)
    assert failure.error == (
        f"{refused}: the directory answers insufficientAccessRights, code 50 (no write access); "
        "cn=signetry may not do this: grant it by olcAccess (docs/directories.md)"
    )
    waits = []
    for _ in range(12):
        waits.append((world.report().failures[0].next_attempt - world.clock.now()).total_seconds())  # type: ignore[operator]
        world.clock.advance(seconds=waits[-1])
        assert world.run() == Batch(failed=1)
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]
    world.fake.interfere = lambda *_: None
    world.clock.advance(hours=1)
    assert world.run() == Batch(done=1)
    assert world.report().condition is Condition.OK


def test_the_same_refusal_of_many_entries_is_logged_once(sqlite_world: World) -> None:
    world = sqlite_world
    for name in ("alice", "bob", "carol"):
        world.fake.add_person(name)
        world.issue(world.add(name))

    def refuse(operation: str, dn: str) -> None:
        if operation == "modify":
            raise EntryRefused(50, "insufficientAccessRights", "", dn)

    world.fake.interfere = refuse
    with structlog.testing.capture_logs() as logs:
        assert world.run() == Batch(failed=3)
        world.clock.advance(seconds=5)
        assert world.run() == Batch(failed=3)
    assert [(log["log_level"], log["directory"]) for log in logs] == [("error", "main")]


def test_a_defect_in_one_entry_stops_no_other(sqlite_world: World) -> None:
    world = sqlite_world
    world.fake.add_person("alice")
    dn = world.fake.add_person("bob")
    world.issue(world.add())
    world.issue(world.add("bob"))

    def break_(operation: str, name: str) -> None:
        if operation == "find" and "alice" in name:
            raise ZeroDivisionError

    world.fake.interfere = break_
    with structlog.testing.capture_logs():
        assert world.run() == Batch(done=1, failed=1)
    assert len(world.certificates(dn)) == 1
    assert "something unexpected happened (ZeroDivisionError)" in world.report().failures[0].error


@pytest.mark.parametrize("kind", list(DirectoryKind))
def test_killed_before_any_operation_whatsoever_it_is_completed_later(sqlite_world: World, kind: DirectoryKind) -> None:
    world = sqlite_world
    world.use(creating(replace(directory_of(kind), smime_attribute=SmimeAttribute.CERTS_ONLY, authority_base=AUTHORITIES)))
    world.note()
    dns = [world.fake.add_person(name) for name in ("alice", "bob")]
    persons = [world.add(name) for name in ("alice", "bob", "carol")]
    numbers = [world.issue(person) for person in persons]
    world.new_crl(ISSUING, b"crl 1")
    counted = 0

    def kill_at(which: int) -> None:
        def interfere(_operation: str, _dn: str) -> None:
            nonlocal counted
            counted += 1
            if counted == which:
                raise Killed

        nonlocal counted
        counted = 0
        world.fake.interfere = interfere

    for round_ in range(1, 30):
        kill_at(round_)
        try:
            while world.run().settled:
                pass
        except Killed:
            pass
        world.fake.interfere = lambda *_: None
        world.clock.advance(seconds=31)
        while world.run().settled:
            pass
        assert world.check() == []
        # The next round has something else to do.
        world.revoke(numbers[round_ % 3])
        numbers[round_ % 3] = world.issue(persons[round_ % 3])
        world.new_crl(ISSUING, f"crl {round_ + 1}".encode())
    while world.run().settled:
        pass
    assert world.check() == []
    assert [world.certificates(dn) for dn in dns] == [[world.der(number)] for number in numbers[:2]]


def test_what_somebody_else_added_in_between_is_kept(sqlite_world: World) -> None:
    world = sqlite_world
    world.use(replace(world.directory, smime_attribute=SmimeAttribute.CERTS_ONLY))
    world.note()
    dn = world.fake.add_person("alice")
    world.fake.touch(dn, "userSMIMECertificate", b"theirs")
    world.issue(world.add())

    def add_in_between(operation: str, dn: str) -> None:
        if operation == "modify" and b"just now" not in world.fake.values(dn, "userSMIMECertificate"):
            world.fake.touch(dn, "userSMIMECertificate", b"just now")

    world.fake.interfere = add_in_between
    assert world.run() == Batch(done=1)
    assert world.fake.values(dn, "userSMIMECertificate")[:2] == [b"theirs", b"just now"]
    assert world.check() == []


def test_an_entry_that_others_keep_changing_is_left_for_later(sqlite_world: World) -> None:
    world = sqlite_world
    world.use(replace(world.directory, smime_attribute=SmimeAttribute.CERTS_ONLY))
    world.note()
    dn = world.fake.add_person("alice")
    world.fake.touch(dn, "userSMIMECertificate", b"theirs")
    world.issue(world.add())
    world.fake.interfere = lambda operation, dn: world.fake.touch(dn, "cn", b"x") if operation == "modify" else None
    assert world.run() == Batch(failed=1)
    assert "is being changed by somebody else" in world.report().failures[0].error


def test_a_value_that_may_be_written_but_not_read_counts_as_there(sqlite_world: World) -> None:
    world = sqlite_world
    dn = world.fake.add_person("alice")
    number = world.issue(world.add())
    world.fake.touch(dn, "userCertificate;binary", world.der(number))
    held = world.fake.entries[dn]

    def hide(operation: str, _dn: str) -> None:
        # What is read shows nothing; what is written meets what is there.
        hidden = {name: values for name, values in held.items() if not name.startswith("usercertificate")}
        world.fake.entries[dn] = held if operation == "modify" else hidden

    world.fake.interfere = hide
    assert world.run() == Batch(done=1)
    assert held["usercertificate;binary"] == [world.der(number)]


def test_a_lease_that_lapsed_is_somebody_elses(world: World) -> None:
    world.fake.add_person("alice")
    world.issue(world.add())
    other = world.publisher()

    def stall(operation: str, _dn: str) -> None:
        if operation == "find":
            world.fake.interfere = lambda *_: None
            world.clock.advance(seconds=31)
            assert other.run() == Batch(done=1)

    world.fake.interfere = stall
    assert world.run() == Batch()
    assert world.check() == []
    assert world.backlog().pending == 0
    other.close()


def test_a_change_that_comes_after_another_workers_is_looked_at_again(world: World) -> None:
    dn = world.fake.add_person("alice")
    number = world.issue(world.add())
    other = world.publisher()

    def stall(operation: str, _dn: str) -> None:
        if operation == "modify":
            world.fake.interfere = lambda *_: None
            world.clock.advance(seconds=31)
            world.revoke(number)
            assert other.run() == Batch(done=1)

    world.fake.interfere = stall
    world.run()
    # Stopped for longer than its lease, it has put there what the other one knew to be revoked.
    assert world.certificates(dn) == [world.der(number)]
    assert world.backlog().pending == 1
    assert world.run() == Batch(done=1)
    assert world.certificates(dn) == []
    other.close()


def test_what_happens_during_an_upload_is_owed_after_it(world: World) -> None:
    dn = world.fake.add_person("alice")
    person = world.add()
    first = world.issue(person)

    def revoke_now(operation: str, _dn: str) -> None:
        if operation == "modify":
            world.fake.interfere = lambda *_: None
            world.revoke(first)

    world.fake.interfere = revoke_now
    assert world.run() == Batch(done=1)
    assert (world.certificates(dn), world.backlog().pending) == ([world.der(first)], 1)
    assert world.run() == Batch(done=1)
    assert world.certificates(dn) == []


def test_a_batch_ends_before_its_lease_does(sqlite_world: World) -> None:
    world = sqlite_world
    for name in ("alice", "bob", "carol"):
        world.fake.add_person(name)
        world.issue(world.add(name))

    def dawdle(operation: str, _dn: str) -> None:
        if operation == "find":
            world.clock.advance(seconds=5)

    world.fake.interfere = dawdle
    assert world.run() == Batch(done=2)
    assert world.run() == Batch(done=1)
    assert world.check() == []


def test_whose_entry_holds_many_certificates_is_warned_of(sqlite_world: World) -> None:
    world = sqlite_world
    dn = world.fake.add_person("alice")
    person = world.add()
    numbers = [world.issue(person, device=device) for device in range(10)]
    world.run()
    assert world.report().warnings == ()
    world.fake.touch(dn, "userCertificate;binary", b"theirs")
    world.revoke(numbers.pop())
    world.run()
    assert world.report().warnings == ()
    world.issue(person, device=20)
    world.run()
    (warned,) = world.report().warnings
    assert warned.subject == "alice@corp.example.com"
    assert "holds 11 userCertificate values; Entra Connect exports none of them past 15" in warned.warning


@pytest.mark.parametrize("kind", list(DirectoryKind))
def test_an_authority_has_an_entry_with_its_certificate_and_newest_crl(world: World, kind: DirectoryKind) -> None:
    directory = world.use(replace(directory_of(kind), authority_base=AUTHORITIES))
    world.note()
    world.new_crl(ISSUING, b"crl 1")
    assert world.run() == Batch(done=2)
    dn, dialect = f"cn=issuing,{AUTHORITIES}", directory.dialect
    assert world.fake.values(dn, dialect.ca_certificate) == [world.issuing.certificate_der]
    assert world.fake.values(dn, dialect.crl) == [b"crl 1"]
    world.new_crl(ISSUING, b"crl 2")
    assert world.run() == Batch(done=1)
    assert world.fake.values(dn, dialect.crl) == [b"crl 2"]
    assert world.check() == []
    world.new_crl(ROOT, b"crl of the root")
    world.run()
    assert world.fake.values(f"cn=root,{AUTHORITIES}", dialect.crl) == [b"crl of the root"]
    # An authority_base that is taken away takes with it what stood there.
    world.use(directory_of(kind))
    assert world.note() == ["main"]
    world.run()
    placeholder = dialect.placeholders.get(dialect.crl)
    assert world.fake.values(dn, dialect.crl) == ([placeholder] if placeholder else [])
    assert world.placed() == set()


def test_a_crl_that_is_not_ours_keeps_its_place_where_there_is_one(sqlite_world: World) -> None:
    world = sqlite_world
    world.use(replace(directory_of(DirectoryKind.ACTIVE_DIRECTORY), authority_base=AUTHORITIES))
    world.note()
    dn = f"cn=issuing,{AUTHORITIES}"
    world.fake.entries[dn] = {"certificaterevocationlist": [b"theirs"]}
    world.new_crl(ISSUING, b"ours")
    assert world.run() == Batch(done=1, failed=1)
    assert world.fake.values(dn, "certificateRevocationList") == [b"theirs"]
    assert "is not from here" in world.report().failures[0].error


def test_a_crl_that_slapd_would_hang_up_on_is_not_sent(sqlite_world: World) -> None:
    world = sqlite_world
    world.use(replace(world.directory, authority_base=AUTHORITIES))
    world.note()
    world.new_crl(ISSUING, bytes(16_000_001))
    assert world.run() == Batch(done=1, failed=1)
    (failure,) = world.report().failures
    assert failure.subject == "issuing"
    assert "the CRL has 16,000,001 bytes and openldap takes 16,000,000 at most" in failure.error
    world.new_crl(ISSUING, bytes(16_000_000))
    assert world.run() == Batch(done=1)


def test_a_server_that_hangs_up_on_a_large_value_is_not_taken_for_one_that_is_down(sqlite_world: World) -> None:
    world = sqlite_world
    world.use(replace(directory_of(DirectoryKind.DS389), authority_base=AUTHORITIES))
    world.note()
    dn = world.fake.add_person("alice")
    world.issue(world.add())
    world.new_crl(ISSUING, bytes(2_100_000))
    hung_up = f"cn=issuing,{AUTHORITIES}"
    world.fake.interfere = lambda operation, dn: down(operation, dn) if (operation, dn) == ("add", hung_up) else None
    assert world.run() == Batch(done=2, failed=1)
    assert len(world.certificates(dn)) == 1
    assert "hung up on a value of 2,100,000 bytes" in world.report().failures[0].error


def test_nobody_who_never_had_anything_there_is_looked_for(sqlite_world: World) -> None:
    world = sqlite_world
    person = world.add()
    world.revoke(world.issue(person))
    world.owe(Subject(SubjectKind.PERSON, person.id))
    assert world.run() == Batch(done=1)
    assert world.fake.operations == []
