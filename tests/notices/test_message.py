"""Mails as Internet messages: right for every server, the same whenever they are built, with headers nobody breaks into."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_string, policy
from email.message import EmailMessage
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notices.message import Letter, Letterhead, build
from notices.rendering import Words

HEAD = Letterhead("pki@example.com", "Example PKI")
OWED = datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=UTC)
LETTER = Letter(7, OWED, "taro@example.com", "Taro Yamada", Words("en", "Hello", "Hello Taro,\n\na line\n"))
JAPANESE = replace(
    LETTER, name="山田 太郎", words=Words("ja", "暗号化メール用の鍵をお預かりしました", "山田 太郎 様\n\n鍵です。\n")
)
WITH_FILE = replace(LETTER, attachment=bytes(range(256)) * 40, attachment_name="taro.p12")


def parsed(head: Letterhead, letter: Letter) -> EmailMessage:
    # As text: Python's parser takes bytes beyond ASCII in a header (RFC 6532) for damage.
    return message_from_string(build(head, letter).content.decode(), policy=policy.default)


def text_of(message: EmailMessage) -> str:
    body = message.get_body()
    assert body is not None
    return str(cast("EmailMessage", body).get_content()).replace("\r\n", "\n")


def test_a_mail_says_who_writes_and_that_no_absence_note_is_wanted() -> None:
    message = parsed(replace(HEAD, reply_to="help@example.com"), LETTER)
    assert str(message["From"]) == "Example PKI <pki@example.com>"
    assert str(message["To"]) == "Taro Yamada <taro@example.com>"
    assert str(message["Reply-To"]) == "help@example.com"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Auto-Response-Suppress"] == "All"
    assert message["Content-Language"] == "en"
    assert message["Date"].datetime == OWED.replace(microsecond=0)
    assert message.get_content_type() == "text/plain"
    assert text_of(message) == LETTER.words.text


@pytest.mark.parametrize("letter", [LETTER, JAPANESE, WITH_FILE, replace(JAPANESE, attachment=b"x", attachment_name="a.pfx")])
def test_every_server_takes_it(letter: Letter) -> None:
    mail = build(HEAD, letter)
    assert mail.content.isascii()
    assert not mail.international
    lines = mail.content.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert not any(b"\n" in line or b"\r" in line for line in lines)


def test_japanese_arrives() -> None:
    message = parsed(HEAD, JAPANESE)
    assert message["Subject"] == JAPANESE.words.subject
    assert message["To"].addresses[0].display_name == "山田 太郎"
    assert text_of(message) == JAPANESE.words.text


def test_a_file_goes_with_it() -> None:
    message = parsed(HEAD, WITH_FILE)
    (attachment,) = message.iter_attachments()
    assert attachment.get_content_type() == "application/x-pkcs12"
    assert attachment.get_filename() == "taro.p12"
    assert attachment.get_content() == WITH_FILE.attachment
    assert text_of(message) == LETTER.words.text


def test_the_same_mail_is_the_same_bytes_and_another_has_another_message_id() -> None:
    assert build(HEAD, WITH_FILE).content == build(HEAD, replace(WITH_FILE)).content
    named = {
        str(parsed(HEAD, letter)["Message-ID"])
        for letter in (
            LETTER,
            replace(LETTER, number=8),
            # A database may give the number of a deleted row again.
            replace(LETTER, owed_at=OWED + timedelta(microseconds=1)),
            replace(LETTER, address="taro@example.net"),
        )
    }
    assert len(named) == 4
    assert all(name.startswith("<notice-") and name.endswith("@example.com>") for name in named)


def test_letters_beyond_ascii_before_the_at_take_an_international_mail() -> None:
    mail = build(HEAD, replace(JAPANESE, address="太郎@xn--eckwd4c7c.jp"))
    assert mail.international
    assert "太郎@xn--eckwd4c7c.jp".encode() in mail.content
    message = parsed(HEAD, replace(JAPANESE, address="太郎@xn--eckwd4c7c.jp"))
    assert message["To"].addresses[0].addr_spec == "太郎@xn--eckwd4c7c.jp"
    assert text_of(message) == JAPANESE.words.text
    assert build(replace(HEAD, sender="鍵@example.jp"), LETTER).international


@pytest.mark.parametrize(
    "attack",
    ["x\r\nBcc: evil@example.net", "x\nBcc: evil@example.net", "x\r\n\r\nbody", "x\x85Bcc: a@b.example", "x\u2028Bcc: a"],
)
def test_nothing_breaks_into_the_headers(attack: str) -> None:
    for head, letter in (
        (HEAD, replace(LETTER, name=attack)),
        (HEAD, replace(LETTER, words=Words("en", attack, "text\n"))),
        (replace(HEAD, name=attack), LETTER),
    ):
        message = parsed(head, letter)
        assert message["Bcc"] is None
        assert [name for name, _ in message.items()] == [name for name, _ in parsed(HEAD, LETTER).items()]
        assert text_of(message).strip() in {"text", LETTER.words.text.strip()}


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)


@given(name=_TEXT, subject=_TEXT, text=_TEXT)
def test_whatever_a_name_or_a_subject_holds_there_is_one_mail_to_one_recipient(name: str, subject: str, text: str) -> None:
    letter = replace(LETTER, name=name, words=Words("en", subject, f"{text}\n"))
    mail = build(HEAD, letter)
    assert mail.content.isascii()
    message = message_from_string(mail.content.decode(), policy=policy.default)
    assert [name for name, _ in message.items()] == [name for name, _ in parsed(HEAD, LETTER).items()]
    assert [address.addr_spec for address in message["To"].addresses] == ["taro@example.com"]
    assert [address.addr_spec for address in message["From"].addresses] == ["pki@example.com"]
