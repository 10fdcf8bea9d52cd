# ruff: noqa: RUF001 - characters that look like others are what is tested
"""The other fields: one stored form each."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from people import identifiers
from people.errors import InvalidField


@pytest.mark.parametrize(
    ("normalise", "value", "stored"),
    [
        (
            identifiers.normalise_sid,
            "s-1-5-21-1004336348-1177238915-682003330-1103",
            "S-1-5-21-1004336348-1177238915-682003330-1103",
        ),
        (identifiers.normalise_language, "JA", "ja"),
        (identifiers.normalise_language, "en-gb", "en-GB"),
        (identifiers.normalise_language, "ZH-hant-tw", "zh-Hant-TW"),
        (identifiers.normalise_language, "de-CH-1996", "de-CH-1996"),
        (identifiers.normalise_phone_number, "+81 90-1234-5678", "+819012345678"),
        (identifiers.normalise_phone_number, "(090) 1234.5678", "09012345678"),
        (identifiers.normalise_imei, "49-015420-323751-8", "490154203237518"),
        (identifiers.normalise_iccid, "8981 1000 0000 0000 000f", "8981100000000000000"),
        (identifiers.normalise_mac, "A8-BB-CC-DD-EE-0F", "a8:bb:cc:dd:ee:0f"),
        (identifiers.normalise_mac, "a8bb.ccdd.ee0f", "a8:bb:cc:dd:ee:0f"),
        (identifiers.normalise_mac, "A8BBCCDDEE0F", "a8:bb:cc:dd:ee:0f"),
        (identifiers.normalise_udid, "00008030-001a2b3c4d5e6f70", "00008030-001A2B3C4D5E6F70"),
        (identifiers.normalise_udid, "A" * 40, "a" * 40),
        (identifiers.normalise_udid, "12345678-90ab-cdef-1234-567890abcdef", "12345678-90AB-CDEF-1234-567890ABCDEF"),
        (identifiers.normalise_eas_device_id, "appldlxk1234", "APPLDLXK1234"),
        (identifiers.normalise_account_name, " t.Yamada ", "t.Yamada"),
        (identifiers.normalise_account_domain, "corp", "CORP"),
        (identifiers.normalise_account_domain, "Corp.Example.com", "corp.example.com"),
    ],
)
def test_a_value_is_brought_to_its_stored_form_and_stays_there(normalise: Callable[[str], str], value: str, stored: str) -> None:
    assert normalise(value) == stored
    assert normalise(stored) == stored


@pytest.mark.parametrize(
    ("normalise", "value"),
    [
        (identifiers.normalise_sid, "S-1-12-1-1-2-3-4"),
        (identifiers.normalise_sid, "S-1-5"),
        (identifiers.normalise_sid, "S-1-5-21-4294967296"),
        (identifiers.normalise_sid, "S-1-5-021"),
        (identifiers.normalise_sid, "S-1-5" + "-1" * 16),
        (identifiers.normalise_sid, "S-1-5-21-1\n"),
        (identifiers.normalise_language, ""),
        (identifiers.normalise_language, "japanese language"),
        (identifiers.normalise_language, "e"),
        (identifiers.normalise_language, "en-" + "x-a" * 20),
        (identifiers.normalise_phone_number, "12"),
        (identifiers.normalise_phone_number, "+1234567890123456"),
        (identifiers.normalise_phone_number, "０９０１２３４５６７８"),
        (identifiers.normalise_imei, "490154203237517"),
        (identifiers.normalise_imei, "49015420323751"),
        (identifiers.normalise_iccid, "1234567890123456789"),
        (identifiers.normalise_mac, "01:00:5e:00:00:01"),
        (identifiers.normalise_mac, "ff:ff:ff:ff:ff:ff"),
        (identifiers.normalise_mac, "a8:bb-cc:dd:ee:0f"),
        (identifiers.normalise_mac, "a8:bb:cc:dd:ee"),
        (identifiers.normalise_udid, "00008030"),
        (identifiers.normalise_eas_device_id, "a" * 33),
        (identifiers.normalise_eas_device_id, "appl-1"),
        (identifiers.normalise_account_name, "CORP\\taro"),
        (identifiers.normalise_account_name, "taro."),
        (identifiers.normalise_account_domain, "a" * 16),
        (identifiers.normalise_account_domain, "co rp"),
    ],
)
def test_a_value_that_breaks_its_rules_is_refused(normalise: Callable[[str], str], value: str) -> None:
    with pytest.raises(InvalidField):
        normalise(value)


@pytest.mark.parametrize("text", ["Taro\x00", "Taro\tYamada", "Taro\u202e", "Taro\u2028", "Taro\U000e0041", "Taro\x7f"])
def test_text_with_control_or_invisible_characters_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="name: holds the control character U"):
        identifiers.normalise_text(text, field="name", maximum=200)


@pytest.mark.parametrize("text", ["山田　太郎", "علی\u200cرضا", "葛\U000e0100城", "外\ue000字", "O'Brien (Sales) [red]"])
def test_names_as_people_write_them_are_kept(text: str) -> None:
    assert identifiers.normalise_text(text, field="name", maximum=200) == text


def test_text_is_measured_after_it_is_normalised() -> None:
    assert identifiers.normalise_text(" e\u0301" + "x" * 9 + " ", field="name", maximum=10) == "é" + "x" * 9
    with pytest.raises(InvalidField, match="longer than 10"):
        identifiers.normalise_text("x" * 11, field="name", maximum=10)
    with pytest.raises(InvalidField, match="is empty"):
        identifiers.normalise_text(" ", field="name", maximum=10, required=True)


@settings(max_examples=200)
@given(st.text(max_size=60))
def test_any_text_gives_a_stored_form_or_an_invalid_field(text: str) -> None:
    normalisers: list[Callable[[str], str]] = [
        identifiers.normalise_sid,
        identifiers.normalise_language,
        identifiers.normalise_phone_number,
        identifiers.normalise_imei,
        identifiers.normalise_iccid,
        identifiers.normalise_mac,
        identifiers.normalise_udid,
        identifiers.normalise_eas_device_id,
        identifiers.normalise_account_name,
        identifiers.normalise_account_domain,
        lambda value: identifiers.normalise_key(value, field="mdm_id", maximum=100),
    ]
    for normalise in normalisers:
        try:
            stored = normalise(text)
        except InvalidField:
            continue
        assert normalise(stored) == stored
