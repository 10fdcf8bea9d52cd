"""A stranger's words, fit for a terminal."""

from hypothesis import given
from hypothesis import strategies as st

from scep.readable import printable, readable_subject


def test_a_subject_reads_as_administrators_know_it() -> None:
    subject = [("2.5.4.3", "phone 7"), ("2.5.4.11", "mdm-4711"), ("1.2.840.113549.1.9.1", "a@example.com"), ("1.2.3.4", "x")]
    assert readable_subject(subject) == "CN=phone 7, OU=mdm-4711, emailAddress=a@example.com, 1.2.3.4=x"


def test_a_value_does_not_pass_for_another_attribute() -> None:
    assert readable_subject([("2.5.4.3", "x, OU=admins\\")]) == "CN=x\\, OU\\=admins\\\\"


def test_what_moves_the_cursor_or_turns_the_writing_is_not_shown() -> None:
    assert printable("a\x1b[2Jb\x00\u202ec") == "a?[2Jb??c"


@given(st.text())
def test_text_is_short_and_printable(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) <= 200


@given(st.lists(st.tuples(st.just("2.5.4.3"), st.text(max_size=300))))
def test_a_subject_is_one_line(subject: list[tuple[str, str]]) -> None:
    shown = readable_subject(subject)
    assert shown.isprintable()
    assert len(shown) <= 1000
