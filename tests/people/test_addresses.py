# ruff: noqa: RUF001 - characters that look like others are what is tested
"""Addresses, UPNs and DNS names: one stored form each, and a named reason for everything else."""

import sys
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from people.addresses import normalise_dns_name, normalise_email, normalise_upn
from people.errors import InvalidField


@pytest.mark.parametrize(
    ("given_address", "stored"),
    [
        ("Taro.Yamada@Example.COM", "taro.yamada@example.com"),
        ("o'brien+mail@example.com", "o'brien+mail@example.com"),
        ("山田@例え.jp", "山田@xn--r8jz45g.jp"),
        ("info@ｅｘａｍｐｌｅ。jp", "info@example.jp"),
        ("user@faß.de", "user@xn--fa-hia.de"),
        ("user@XN--FA-HIA.de", "user@xn--fa-hia.de"),
        ("DO\u0308RTE@example.de", "dörte@example.de"),
        # Only the small letter has a composed form.
        ("J\u030cana@example.com", "\u01f0ana@example.com"),
        ("İlker@example.com", "i\u0307lker@example.com"),
        ("น้ำ@example.com", "น้ำ@example.com"),
        ("a" * 64 + "@example.com", "a" * 64 + "@example.com"),
    ],
)
def test_an_address_is_stored_in_nfc_and_lower_case_with_its_domain_in_a_labels(given_address: str, stored: str) -> None:
    assert normalise_email(given_address) == stored


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "is empty"),
        ("taro", "no @"),
        ("@example.com", "nothing before"),
        ("taro@", "no domain"),
        ("taro@home@example.com", "more than one @"),
        ("taro yamada@example.com", "space"),
        (" taro@example.com", "space"),
        ("taro\u3000yamada@example.com", "space U+3000"),
        ("taro\x00@example.com", "control character U+0000"),
        ("taro\r\nbcc:x@example.com", "control character U+000D"),
        ("taro\u0085@example.com", "U+0085"),
        ("taro\u202egro@example.com", "invisible character U+202E"),
        ("taro\u2066@example.com", "invisible character U+2066"),
        ("ta\u200bro@example.com", "invisible character U+200B"),
        ("taro\ud800@example.com", "U+D800"),
        ('"taro"@example.com', 'may not hold "'),
        ("taro(x)@example.com", "may not hold ("),
        ("<taro@example.com", "may not hold <"),
        ("ｔａｒｏ@example.com", "plain ASCII"),
        ("taro＠home@example.com", "plain ASCII"),
        ("\u0301taro@example.com", "combining mark"),
        (".taro@example.com", "dot"),
        ("taro.@example.com", "dot"),
        ("ta..ro@example.com", "dot"),
        ("a" * 65 + "@example.com", "longer than 64 octets"),
        ("山" * 22 + "@example.com", "longer than 64 octets"),
        ("taro@" + ".".join(["a" * 63] * 4), "not a valid"),
        ("a" * 2000, "longer than 320"),
        ("taro@localhost", "no dot"),
        ("taro@192.0.2.1", "IP address"),
        ("taro@[192.0.2.1]", "not a valid"),
        ("taro@exam_ple.com", "not a valid"),
        ("taro@-example.com", "not a valid"),
        ("taro@example..com", "not a valid"),
        ("taro@example.com.", "ends with a dot"),
        ("taro@☃.com", "not a valid"),
        ("taro@xn--abc.com", "not a valid"),
        ("taro@exa\x00mple.com", "not a valid"),
        ("taro@exa\u202emple.com", "not a valid"),
    ],
)
def test_what_is_no_address_is_refused_by_field_and_reason(address: str, reason: str) -> None:
    with pytest.raises(InvalidField) as refused:
        normalise_email(address, field="alias")
    assert refused.value.field == "alias"
    assert str(refused.value).startswith("alias: ")
    assert reason in str(refused.value)


def test_a_refusal_never_repeats_the_address() -> None:
    with pytest.raises(InvalidField) as refused:
        normalise_email("secret\x1b[31m@example.com")
    assert "secret" not in str(refused.value)
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    ("given_upn", "stored"),
    [
        ("Taro@CORP.example.com", "taro@corp.example.com"),
        ("taro@corp", "taro@corp"),
        ("山田@corp.example.com", "山田@corp.example.com"),
        ("guest_example.org#ext#@tenant.example.com", "guest_example.org#ext#@tenant.example.com"),
    ],
)
def test_a_upn_is_stored_in_lower_case(given_upn: str, stored: str) -> None:
    assert normalise_upn(given_upn) == stored


@pytest.mark.parametrize("character", list('"/\\[]:;|=,+*?<>'))
def test_a_upn_holds_no_character_that_active_directory_refuses(character: str) -> None:
    with pytest.raises(InvalidField, match="upn: the part before the @ may not hold"):
        normalise_upn(f"ta{character}ro@corp.example.com")


@pytest.mark.parametrize("upn", ["taro", "CORP\\taro", "taro@", "@corp", "ta ro@corp.example.com", "taro\n@corp.example.com"])
def test_what_is_no_upn_is_refused(upn: str) -> None:
    with pytest.raises(InvalidField, match=r"^upn: "):
        normalise_upn(upn)


@pytest.mark.parametrize(("name", "stored"), [("Router-1.Example.COM", "router-1.example.com"), ("例え.jp", "xn--r8jz45g.jp")])
def test_a_dns_name_is_stored_in_lower_case_a_labels(name: str, stored: str) -> None:
    assert normalise_dns_name(name) == stored


@pytest.mark.parametrize(
    "name", ["", "*.example.com", "a b.example.com", "192.0.2.1", "example.com.", "-a.example.com", "a" * 300]
)
def test_what_is_no_host_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidField, match=r"^dns_name: "):
        normalise_dns_name(name)


def test_every_character_there_is_gives_a_stable_form_or_a_refusal() -> None:
    accepted = 0
    for codepoint in range(sys.maxunicode + 1):
        try:
            stored = normalise_email(f"a{chr(codepoint)}@example.com")
        except InvalidField:
            continue
        accepted += 1
        assert normalise_email(stored) == stored
        assert unicodedata.is_normalized("NFC", stored)
        assert stored == stored.lower()
    assert accepted > 100_000


_LOCAL = st.text(min_size=1, max_size=20)
_DOMAIN = st.sampled_from(["example.com", "Example.JP", "例え.jp", "faß.de", "xn--r8jz45g.jp", "a.b.c.example"])


@settings(max_examples=300)
@given(st.one_of(st.text(max_size=60), st.builds("{}@{}".format, _LOCAL, st.one_of(_DOMAIN, st.text(max_size=20)))))
@example("a@" + "\u0660.com")
@example("a@" + "." * 300)
@example("a@" + "xn--" * 60)
@example("a@" + "\u00df" * 900)
def test_any_text_is_normalised_once_and_for_all_or_refused_as_an_invalid_field(text: str) -> None:
    for normalise in (normalise_email, normalise_upn, normalise_dns_name):
        try:
            stored = normalise(text)
        except InvalidField:
            continue
        assert normalise(stored) == stored
        assert len(stored.encode()) <= 320
        assert stored.rpartition("@")[2].isascii()
