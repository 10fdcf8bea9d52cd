"""Search filters and DNs: whatever a person is called, it stays a value."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldap_publish.errors import BadTemplate, MissingField, UnusableValue
from ldap_publish.template import DnTemplate, FilterTemplate, escape_dn_value, escape_filter_value

characters = st.characters(codec="utf-8")
visible = st.characters(exclude_categories=("Cc", "Cs"))


@given(st.text(characters))
def test_a_filter_value_comes_back_as_it_was_and_cannot_widen_a_search(value: str) -> None:
    escaped = escape_filter_value(value)
    assert not re.search(r"[()*\x00]", escaped)
    assert re.sub(r"\\([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), escaped) == value


@given(st.text(visible, min_size=1))
def test_a_dn_value_comes_back_as_it_was_and_cannot_leave_its_place(value: str) -> None:
    escaped = escape_dn_value(value)
    assert re.sub(r"\\(.)", r"\1", escaped, flags=re.DOTALL) == value
    assert not re.search(r'(?<!\\)[",+;<>=#]', re.sub(r"\\\\", "", escaped))
    assert not escaped.startswith(" ")
    assert not escaped.endswith(" ") or escaped.endswith("\\ ")


@pytest.mark.parametrize("value", ["a\0", "a\nb", "\x7f", "\x85"])
def test_control_characters_never_stand_in_a_dn(value: str) -> None:
    with pytest.raises(UnusableValue):
        escape_dn_value(value)


def test_what_injection_is_made_of_is_escaped() -> None:
    fields = {"email": "*)(uid=*))(|(a=\0\\"}
    assert FilterTemplate("(mail={email})").filled(fields) == r"(mail=\2a\29\28uid=\2a\29\29\28|\28a=\00\5c)"
    fields = {"display_name": ' #x,cn=admin+uid=1"\\;<> '}
    template = DnTemplate("cn={display_name},ou=people,dc=example")
    assert template.filled(fields) == r"cn=\ \#x\,cn\=admin\+uid\=1\"\\\;\<\>\ ,ou=people,dc=example"
    assert template.rdn_value(fields) == fields["display_name"]


def test_braces_in_a_value_stay_what_they_are() -> None:
    assert FilterTemplate("(mail={email})").filled({"email": "{upn}"}) == "(mail={upn})"


def test_a_template_may_be_more_than_a_field() -> None:
    template = FilterTemplate("(&(objectClass=inetOrgPerson)(|(mail={email})(employeeNumber={employee_code})))")
    assert template.filled({"email": "a@b", "employee_code": "7"}) == (
        "(&(objectClass=inetOrgPerson)(|(mail=a@b)(employeeNumber=7)))"
    )
    assert template.equalities == {"mail": "email", "employeeNumber": "employee_code"}
    dn = DnTemplate(r"cn={display_name} \({employee_code}\),ou=a\, b,dc=example")
    assert dn.filled({"display_name": "Al", "employee_code": "7"}) == r"cn=Al \(7\),ou=a\, b,dc=example"
    assert dn.rdn_attribute == "cn"
    assert dn.rdn_value({"display_name": "Al", "employee_code": "7"}) == "Al (7)"


def test_a_person_who_lacks_the_field_is_not_looked_for() -> None:
    with pytest.raises(MissingField, match="has no employee_code"):
        FilterTemplate("(employeeNumber={employee_code})").filled({"employee_code": ""})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(mail=a)", "must name something of the person"),
        ("mail={email}", "write it in parentheses"),
        ("(mail={email}", "write it in parentheses"),
        ("(mail={email}))", "write it in parentheses"),
        ("(mail={email})(cn=a)", "write it in parentheses"),
        ("(mail={mail})", r"what may stand in braces is \{upn\}"),
        ("(mail={email!r})", "what may stand in braces"),
        ("(mail={email:>5})", "what may stand in braces"),
        ("(mail={email.x})", "what may stand in braces"),
        ("(mail={})", "what may stand in braces"),
        ("(mail={email}", "write it in"),
        ("(mail={email)", "a brace has no partner"),
    ],
)
def test_a_filter_that_cannot_be_used_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadTemplate, match=message):
        FilterTemplate(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cn=alice,dc=example", "must name something of the person"),
        ("cn={display_name}", "write it as attribute"),
        ("{display_name},dc=example", "write it as attribute"),
        ("cn={display_name}+uid={upn},dc=example", "write it as attribute"),
        ("cn={display_name},", "write it as attribute"),
        ("cn={display_name},ou={unit},dc=example", "what may stand in braces"),
    ],
)
def test_a_dn_that_cannot_be_used_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadTemplate, match=message):
        DnTemplate(text)
