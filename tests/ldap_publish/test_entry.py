"""The difference between what an entry holds and what it should: values of others stay, whatever happens."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldap_publish.directory import DIALECTS, Assertion, Change, ChangeKind, DirectoryKind, Entry
from ldap_publish.entry import Owned, Value, count_after, digest, one_by_one, plan
from ldap_publish.errors import PlaceTaken, VersionUnreadable
from tests.ldap_publish.fake import FakeDirectory

OPENLDAP = DIALECTS[DirectoryKind.OPENLDAP]
AD = DIALECTS[DirectoryKind.ACTIVE_DIRECTORY]
DN = "cn=alice"

contents = st.sampled_from([bytes([number]) * 3 for number in range(1, 9)])
# Two signatures of the same, twice; the rest are their own source, as certificates are.
SOURCES = {b"\1" * 3: "a", b"\2" * 3: "a", b"\3" * 3: "b", b"\4" * 3: "b"}


def source_of(content: bytes) -> str:
    return SOURCES.get(content, digest(content))


@st.composite
def situations(draw: st.DrawFn) -> tuple[DirectoryKind, dict[str, list[bytes]], list[Value], list[Owned]]:
    """An entry, what is wanted in it and what is recorded as ours, some of it in the entry and some not."""
    kind = draw(st.sampled_from(DirectoryKind))
    dialect = DIALECTS[kind]
    present, wanted, owned = {}, [], []
    for attribute in (dialect.user_certificate, dialect.user_smime, dialect.ca_certificate):
        present[attribute] = draw(st.lists(contents, unique=True))
        chosen = draw(st.lists(contents, unique_by=source_of))
        wanted += [Value(attribute, source_of(content), partial(bytes, content)) for content in chosen]
        recorded = draw(st.lists(contents, unique=True))
        owned += [Owned(attribute, digest(content), source_of(content)) for content in recorded]
    return kind, present, wanted, owned


@given(situations())
def test_after_a_plan_the_entry_holds_what_is_wanted_and_all_that_is_not_ours(
    situation: tuple[DirectoryKind, dict[str, list[bytes]], list[Value], list[Owned]],
) -> None:
    kind, present, wanted, owned = situation
    fake = FakeDirectory(kind, {DN: {name.lower(): list(values) for name, values in present.items() if values}})
    dialect = fake.dialect
    before = fake.read(DN, ["userCertificate", "userSMIMECertificate", "cACertificate"])
    assert before is not None
    made = plan(before, wanted, owned, dialect)
    fake.modify(DN, made.changes, made.assertion)
    after = fake.read(DN, ["userCertificate", "userSMIMECertificate", "cACertificate"])
    assert after is not None
    ours = {(each.attribute, each.sha256) for each in owned}
    held = {(each.attribute, each.sha256) for each in made.holds}
    for attribute, values in present.items():
        left = after.values(attribute)
        theirs = [value for value in values if (attribute, digest(value)) not in ours]
        assert [value for value in left if value in theirs] == theirs or attribute in dialect.placeholders
        assert {(attribute, digest(value)) for value in left} - held <= {(attribute, digest(value)) for value in (*theirs, b"\0")}
    # Everything wanted is there, if not itself, then by another value from the same source.
    sources = {(each.attribute, each.source) for each in made.holds}
    assert {(value.attribute, value.source) for value in wanted} == sources
    present_after = {(name, digest(value)) for name in present for value in after.values(name)}
    assert held <= present_after
    # And what has been done need not be done again.
    again = plan(after, wanted, made.holds, dialect)
    assert again.changes == ()
    assert set(again.holds) == set(made.holds)


def test_an_entry_that_is_as_it_should_be_is_left_alone() -> None:
    value = Value.of("userCertificate;binary", b"ours")
    made = plan(Entry(DN, {"usercertificate;binary": (b"theirs", b"ours")}), [value], [value.owned], OPENLDAP)
    assert (made.changes, made.assertion, made.missing, made.surplus) == ((), None, (), ())


def test_what_is_there_already_counts_as_ours_from_then_on() -> None:
    value = Value.of("userCertificate;binary", b"ours")
    made = plan(Entry(DN, {"usercertificate;binary": (b"ours",)}), [value], [], OPENLDAP)
    assert (made.changes, made.holds) == ((), (value.owned,))


def test_a_signature_is_not_made_anew_while_one_from_the_same_source_is_there() -> None:
    value = Value("userSMIMECertificate", "of this certificate", lambda: pytest.fail("signed without need"))
    owned = Owned("userSMIMECertificate", digest(b"signed before"), "of this certificate")
    made = plan(Entry(DN, {"usersmimecertificate": (b"signed before",)}), [value], [owned], OPENLDAP)
    assert (made.changes, made.holds) == ((), (owned,))


def test_an_attribute_is_replaced_as_a_whole_only_under_an_assertion() -> None:
    value = Value.of("userSMIMECertificate", b"new")
    old = Owned("userSMIMECertificate", digest(b"old"), "old")
    entry = Entry(DN, {"usersmimecertificate": (b"theirs", b"old"), "entrycsn": (b"42",)})
    made = plan(entry, [value], [old], OPENLDAP)
    assert made.changes == (Change(ChangeKind.REPLACE, "userSMIMECertificate", (b"theirs", b"new")),)
    assert made.assertion == Assertion("entryCSN", b"42")


def test_where_nothing_is_seen_nothing_is_replaced() -> None:
    """Who may write an attribute may not be allowed to read it: a replacement would wipe out what is there."""
    value = Value.of("userSMIMECertificate", b"new")
    made = plan(Entry(DN, {}), [value], [], OPENLDAP)
    assert (made.changes, made.assertion) == ((Change(ChangeKind.ADD, "userSMIMECertificate", (b"new",)),), None)


def test_without_a_version_nothing_is_replaced() -> None:
    value = Value.of("userSMIMECertificate", b"new")
    with pytest.raises(VersionUnreadable, match="entryCSN cannot be read"):
        plan(Entry(DN, {"usersmimecertificate": (b"theirs",)}), [value], [], OPENLDAP)


def test_an_attribute_for_one_value_changes_it_in_one_step_and_only_where_it_is_ours() -> None:
    new, old = Value.of("certificateRevocationList", b"new"), Value.of("certificateRevocationList", b"old")
    held = Entry(DN, {"certificaterevocationlist": (b"old",)})
    assert plan(held, [new], [old.owned], AD).changes == (
        Change(ChangeKind.DELETE, "certificateRevocationList", (b"old",)),
        Change(ChangeKind.ADD, "certificateRevocationList", (b"new",)),
    )
    with pytest.raises(PlaceTaken):
        plan(held, [new], [], AD)
    # What stands for nothing gives way, and comes back where the attribute must not be empty.
    empty = Entry(DN, {"certificaterevocationlist": (b"\0",)})
    assert plan(empty, [new], [], AD).changes[0] == Change(ChangeKind.DELETE, "certificateRevocationList", (b"\0",))
    assert plan(held, [], [old.owned], AD).changes[1] == Change(ChangeKind.ADD, "certificateRevocationList", (b"\0",))


def test_changes_are_taken_apart_so_that_nothing_is_missing_in_between() -> None:
    changes = [
        Change(ChangeKind.DELETE, "a", (b"1", b"2")),
        Change(ChangeKind.ADD, "a", (b"3", b"4")),
        Change(ChangeKind.REPLACE, "b", (b"5", b"6")),
    ]
    assert one_by_one(changes) == [
        Change(ChangeKind.REPLACE, "b", (b"5", b"6")),
        *(Change(ChangeKind.ADD, "a", (value,)) for value in (b"3", b"4")),
        *(Change(ChangeKind.DELETE, "a", (value,)) for value in (b"1", b"2")),
    ]


def test_values_are_counted_whatever_their_option() -> None:
    entry = Entry(DN, {"usercertificate": (b"1",), "usercertificate;binary": (b"2", b"3"), "cn": (b"x",)})
    changes = [
        Change(ChangeKind.ADD, "userCertificate;binary", (b"4", b"5")),
        Change(ChangeKind.DELETE, "userCertificate;binary", (b"2",)),
    ]
    assert count_after(entry, changes, "userCertificate") == 4
