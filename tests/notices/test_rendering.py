"""The words of mails: in the reader's language, an operator's own before ours, and never a mail that says nothing."""

from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from notices.errors import BadTemplate
from notices.kinds import DELIVERY_LINK, DELIVERY_MAIL, KEY_ARCHIVED, KINDS, TEST, kind_named
from notices.rendering import Templates

OURS = Templates(None, UTC, "Example PKI", "help desk\nextension 1234")


def own(tmp_path: Path, files: dict[str, str]) -> Templates:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Templates(tmp_path, UTC, "Example PKI")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_there_are_words_for_every_mail_in_english_and_japanese(name: str, language: str) -> None:
    kind = kind_named(name)
    words = OURS.render(kind, language, "Taro", kind.values)
    assert words.language == language
    assert words.subject.isascii() == (language == "en")
    assert "Taro" in words.text
    assert words.text.endswith("\n\n-- \nExample PKI\nhelp desk\nextension 1234\n")
    # The usual width of mails; full-width characters take two columns.
    assert max(len(line) for line in words.text.splitlines()) <= (78 if language == "en" else 60)
    assert "\n\n\n" not in words.text
    for value in kind.shown - {"until"}:
        assert kind.values[value] in words.text


def test_what_we_ship_meets_what_we_ask_of_operators() -> None:
    folder = Path(__file__).parents[2] / "notices" / "templates"
    assert list(Templates(folder, UTC, "PKI").complaints()) == []
    assert {path.stem for path in folder.glob("*/*.txt")} == set(KINDS)


def test_what_is_different_is_said_differently() -> None:
    kind = kind_named(KEY_ARCHIVED)
    made = OURS.render(kind, "en", "Taro", kind.values).text
    imported = OURS.render(kind, "en", "Taro", {**kind.values, "origin": "imported"}).text
    assert "has made a key" in made
    assert "was brought into the key archive" in imported
    delivery = kind_named(DELIVERY_MAIL)
    one = OURS.render(delivery, "en", "Taro", {**delivery.values, "keys": "1", "device": ""}).text
    assert "earlier" not in one
    assert "attached are your keys for encrypted mail." in one


@pytest.mark.parametrize(
    ("asked", "got"),
    [("ja-JP", "ja"), ("JA", "ja"), ("ja-Hira-JP", "ja"), ("fr", "en"), ("", "en"), ("en-GB", "en"), ("../ja", "en")],
)
def test_the_nearest_language_is_taken_and_english_else(asked: str, got: str) -> None:
    assert OURS.render(kind_named(TEST), asked, "Taro", {}).language == got


def test_points_in_time_are_shown_in_the_operators_zone_and_the_readers_way() -> None:
    templates = Templates(None, ZoneInfo("Asia/Tokyo"), "Example PKI")
    kind = kind_named(DELIVERY_LINK)
    assert "until 2 June 2026, 21:00 (JST)." in templates.render(kind, "en", "Taro", kind.values).text
    assert "2026年6月2日 21:00 (JST)" in templates.render(kind, "ja", "Taro", kind.values).text


def test_an_operators_own_words_come_first_and_ours_where_there_are_none(tmp_path: Path) -> None:
    templates = own(
        tmp_path,
        {"de/test.txt": "Subject: Probe für {{ name }}\n\nHallo {{ name }}, {{ '2026-06-02T12:00:00+00:00' | moment }}\n"},
    )
    words = templates.render(kind_named(TEST), "de-AT", "Jörg", {})
    assert (words.language, words.subject) == ("de", "Probe für Jörg")
    assert words.text == "Hallo Jörg, 2026-06-02 12:00 (UTC)\n\n-- \nExample PKI\n"
    assert templates.render(kind_named(TEST), "en", "Jörg", {}).subject == "A test"
    archived = kind_named(KEY_ARCHIVED)
    assert templates.render(archived, "de", "Jörg", archived.values).language == "en"


def test_values_stay_in_their_line_and_are_not_rendered_again(tmp_path: Path) -> None:
    templates = own(tmp_path, {"en/delivery-link.txt": "Subject: {{ device }}\n\n{{ link }} {{ until | day }} {{ device }}\n"})
    kind = kind_named(DELIVERY_LINK)
    words = templates.render(kind, "en", "x", {**kind.values, "device": "a\r\nBcc: b\n{{ link }}"})
    assert words.subject == "a Bcc: b {{ link }}"
    assert words.text.splitlines()[0].endswith("a Bcc: b {{ link }}")


BROKEN = {
    "Hello": "must begin with a line Subject:",
    "Subject: a\nb": "must begin with a line Subject:",
    "Subject: {{ name\n\ntext": "en/test.txt: ",
    "Subject: a\n\n{{ name }}\n{% if %}": "in line 4",
    "Subject: a\n\n{{ nmae }}": "nmae is no value of it",
    "Subject: a\n\n{% if false %}{{ nmae }}{% endif %}": "nmae is no value of it",
    "Subject: {{ name[99:] }}\n\ntext": "the subject has 0 characters",
    "Subject: a\n\n{{ '' }}": "the text is empty",
    "Subject: a\n\n{% include 'en/other.txt' %}": "en/test.txt: ",
    "Subject: a\n\n{{ name | day }}": "Invalid isoformat",
    "Subject: a\n\n{{ name.__class__.__mro__ }}": "unsafe",
    "Subject: a\n\n{% for i in range(999999999) %}x{% endfor %}": "Range too big",
    "Subject: a\n\n" + "x" * 70_000: "larger than",
}


@pytest.mark.parametrize(("text", "complaint"), BROKEN.items(), ids=range(len(BROKEN)))
def test_a_template_that_cannot_be_used_is_complained_of_and_ours_is_used(tmp_path: Path, text: str, complaint: str) -> None:
    templates = own(tmp_path, {"en/test.txt": text})
    (said,) = templates.complaints()
    assert complaint in said
    assert str(tmp_path) not in said
    if "if false" in text:
        return
    with capture_logs() as logged:
        assert templates.render(kind_named(TEST), "en", "Taro", {}).subject == "A test"
    assert [entry["log_level"] for entry in logged] == ["error"]


def test_words_that_leave_out_what_matters_are_complained_of(tmp_path: Path) -> None:
    templates = own(tmp_path, {"en/delivery-link.txt": "Subject: {{ link }}\n\nvalid until {{ until | day }}\n"})
    assert list(templates.complaints()) == ["en/delivery-link.txt: the text does not show link"]


def test_files_that_nobody_reads_are_complained_of(tmp_path: Path) -> None:
    templates = own(tmp_path, {"en/tset.txt": "", "test.txt": "", "en/test.html": "", "en/more/test.txt": ""})
    assert len(list(templates.complaints())) == 4
    assert list(Templates(tmp_path / "nowhere", UTC, "x").complaints()) == [f"{tmp_path / 'nowhere'} is no folder"]


def test_a_folder_that_is_missing_or_not_text_leaves_our_words(tmp_path: Path) -> None:
    assert Templates(tmp_path / "nowhere", UTC, "x").render(kind_named(TEST), "en", "Taro", {}).subject == "A test"
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "test.txt").write_bytes(b"Subject: \xff\n\nx")
    templates = Templates(tmp_path, UTC, "x")
    assert list(templates.complaints()) == ["en/test.txt: it is not text in UTF-8"]
    assert templates.render(kind_named(TEST), "en", "Taro", {}).subject == "A test"


def test_without_a_value_there_is_no_mail() -> None:
    with capture_logs(), pytest.raises(BadTemplate):
        OURS.render(kind_named(DELIVERY_LINK), "en", "Taro", {})
