"""What a request may ask for: names its subject has, in any spelling that means the same, and nothing else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.authorisation import SubjectNames
from ca.errors import NamesNotAuthorised
from ca.names import SID_URI_PREFIX, RequestedNames, addresses_within, check_request, comparable_address, comparable_domain
from tests.ca.authorities import ANN, PHONE, YUKI

NOBODY = SubjectNames()
LOCAL_PARTS = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=20)
LABELS = st.from_regex(r"[a-z][a-z0-9]{0,10}", fullmatch=True)
DOMAINS = st.lists(LABELS, min_size=2, max_size=4).map(".".join)
ADDRESSES = st.tuples(LOCAL_PARTS, DOMAINS).map("@".join)


def test_an_empty_request_is_fine() -> None:
    check_request(RequestedNames(), NOBODY)
    check_request(RequestedNames(), ANN)


def test_everything_a_subject_has_may_be_asked_for() -> None:
    request = RequestedNames(
        common_name=ANN.display_name,
        emails=ANN.emails,
        upns=(ANN.upn,),
        sids=(ANN.sid,),
        uris=(SID_URI_PREFIX + ANN.sid,),
        organisational_units=("anything",),
    )
    check_request(request, ANN)
    check_request(RequestedNames(common_name="phone-17", dns_names=PHONE.dns_names, uris=PHONE.uris), PHONE)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (RequestedNames(emails=("bob@example.com",)), "mail address bob@example.com"),
        (RequestedNames(emails=(*ANN.emails, "bob@example.com")), "mail address bob@example.com"),
        (RequestedNames(emails=(ANN.upn,)), "mail address ann@corp.example.com"),
        (RequestedNames(emails=("",)), "mail address "),
        (RequestedNames(upns=("bob@corp.example.com",)), "UPN bob@corp.example.com"),
        (RequestedNames(upns=(ANN.emails[0],)), "UPN ann.lee@example.com"),
        (RequestedNames(upns=("",)), "UPN "),
        (RequestedNames(dns_names=("www.example.com",)), "DNS name www.example.com"),
        (RequestedNames(dns_names=("example.com",)), "DNS name example.com"),
        (RequestedNames(uris=("https://example.com",)), "URI https://example.com"),
        (RequestedNames(uris=(SID_URI_PREFIX + "S-1-5-21-1-2-3-500",)), "URI tag:microsoft.com"),
        (RequestedNames(sids=("S-1-5-21-1-2-3-500",)), "SID S-1-5-21-1-2-3-500"),
        (RequestedNames(sids=("",)), "SID "),
        (RequestedNames(other=("IP address 192.0.2.1",)), "IP address 192.0.2.1"),
        (RequestedNames(other=("otherName 1.2.3",)), "otherName 1.2.3"),
        (RequestedNames(wants_ca=True), "CA:true"),
    ],
)
@pytest.mark.parametrize("subject", [ANN, NOBODY])
def test_anything_else_is_refused_and_named(request_: RequestedNames, said: str, subject: SubjectNames) -> None:
    with pytest.raises(NamesNotAuthorised) as caught:
        check_request(request_, subject)
    assert "is not authorised" in str(caught.value)
    if subject is ANN:
        assert said in str(caught.value)


@pytest.mark.parametrize("request_", [RequestedNames(dns_names=PHONE.dns_names), RequestedNames(uris=PHONE.uris)])
def test_a_persons_request_for_a_hosts_name_is_refused(request_: RequestedNames) -> None:
    with pytest.raises(NamesNotAuthorised):
        check_request(request_, ANN)


def test_a_subject_without_a_sid_has_no_empty_one_either() -> None:
    with pytest.raises(NamesNotAuthorised):
        check_request(RequestedNames(uris=(SID_URI_PREFIX,)), NOBODY)


@pytest.mark.parametrize(
    "common_name",
    [
        "",
        "Ann Lee",
        "somebody else",
        "ann.lee@example.com",
        "ANN@corp.EXAMPLE.com",
        "Ann Lee <ann@example.com>",
        "ann@example.com ann@corp.example.com",
        "@home",
        "device 7 @",
        "a1b2c3d4-e5f6",
    ],
)
def test_a_common_name_is_ignored_unless_it_holds_anothers_address(common_name: str) -> None:
    check_request(RequestedNames(common_name=common_name), ANN)


@pytest.mark.parametrize(
    "common_name",
    [
        "bob@example.com",
        "Ann Lee <bob@example.com>",
        "ann@example.com,bob@example.com",
        "ann@example.com;bob@example.com",
        "CN=bob@example.com",
        "mailto:bob@example.com",
        "ann@example.com\tbob@example.com",
        "ann@example.com@evil.example",
    ],
)
def test_a_common_name_with_anothers_address_is_refused(common_name: str) -> None:
    with pytest.raises(NamesNotAuthorised, match="common name with the address"):
        check_request(RequestedNames(common_name=common_name), ANN)


def test_a_display_name_that_looks_like_an_address_is_still_ones_own() -> None:
    check_request(RequestedNames(common_name="x@y"), replace(ANN, display_name="x@y"))
    check_request(RequestedNames(common_name="x@y"), replace(PHONE, device_name="x@y"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ann@Example.COM", "ann@example.com"),
        ("ann@example.com.", "ann@example.com"),
        ("雪@例え.jp", YUKI.emails[0]),
        ("info@BÜCHER.example", "info@xn--bcher-kva.example"),
        ("JOSE\u0301@example.com", "jos\u00e9@example.com"),
    ],
)
def test_spellings_of_one_mailbox_compare_equal(one: str, other: str) -> None:
    assert comparable_address(one) == comparable_address(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ann@example.com", "ann@example.org"),
        ("ann@example.com", "ann.lee@example.com"),
        ("ann@example.com", "ann@sub.example.com"),
        ("ann", "ann@"),
        ("a@b@example.com", "b@example.com"),
    ],
)
def test_different_mailboxes_compare_different(one: str, other: str) -> None:
    assert comparable_address(one) != comparable_address(other)


def test_a_name_without_end_is_refused_without_being_brought_into_normal_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes quadratic time: seconds, for as many combining marks as fit into a message."""
    monkeypatch.setattr("unicodedata.normalize", lambda _form, text: text if len(text) <= 1024 else pytest.fail("normalised"))
    endless = "a" + "\u0345\u0323" * 10_000 + "@example.com"
    with pytest.raises(NamesNotAuthorised):
        check_request(RequestedNames(emails=(endless,)), ANN)
    with pytest.raises(NamesNotAuthorised):
        check_request(RequestedNames(common_name=endless), ANN)


def test_what_a_refusal_quotes_is_printable_and_short() -> None:
    with pytest.raises(NamesNotAuthorised) as caught:
        check_request(RequestedNames(emails=("\x1b[31m\n\u202e" + "x" * 500 + "@example.com",)), ANN)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


# Not every letter has two cases that mean each other: the dotless i in upper case is the dotted one's upper case.
@given(ADDRESSES.filter(lambda address: address.upper().casefold() == address.casefold()))
def test_case_never_decides(address: str) -> None:
    names = SubjectNames(upn=address, emails=(address,))
    check_request(RequestedNames(emails=(address.upper(), address.lower()), upns=(address.title(),)), names)


@given(ADDRESSES, ADDRESSES)
def test_of_two_mailboxes_one_never_passes_for_the_other(one: str, other: str) -> None:
    if comparable_address(one) == comparable_address(other):
        check_request(RequestedNames(emails=(other,), common_name=other), SubjectNames(emails=(one,)))
        return
    for request in (RequestedNames(emails=(other,)), RequestedNames(common_name=other)):
        with pytest.raises(NamesNotAuthorised):
            check_request(request, SubjectNames(emails=(one,)))


@given(st.text())
def test_any_text_can_be_compared_and_comparing_it_again_changes_nothing(text: str) -> None:
    domain = comparable_domain(text)
    assert comparable_domain(domain.lower()) in {domain, domain.removesuffix(".")}
    assert isinstance(comparable_address(text), str)


@given(st.text(), ADDRESSES, st.text(st.sampled_from(" <>,;()\t")))
def test_an_address_is_found_wherever_it_stands(before: str, address: str, around: str) -> None:
    assert address in addresses_within(f"{before} {around}{address}{around} {before}")
