"""What an administrator allows names to be: patterns and domains, held to the letter."""

import fnmatch
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.errors import NamesNotAuthorised
from scep.policies.constraints import Pattern, allowed_common_name, allowed_dns_names, is_below


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("router-*", "router-7", True),
        ("router-*", "router-", True),
        ("router-*", "a-router-7", False),
        ("router-??", "router-07", True),
        ("router-??", "router-7", False),
        ("router-?", "router-77", False),
        ("*", "anything at all", True),
        ("a*b*c", "aXbYbZc", True),
        ("a*b*c", "aXbYcZ", False),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
        ("router-*", "Router-7", False),
        ("router", "router\n", False),
        ("**", "", True),
        ("?", "", False),
    ],
)
def test_a_pattern_stands_for_whole_names(pattern: str, name: str, matches: bool) -> None:  # noqa: FBT001 - a table's column
    assert Pattern(pattern).matches(name) is matches


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
def test_patterns_match_as_those_of_a_shell(pattern: str, name: str) -> None:
    assert Pattern(pattern).matches(name) is bool(re.fullmatch(fnmatch.translate(pattern), name))


def test_no_pattern_takes_long() -> None:
    started = time.process_time()
    assert not Pattern("*a" * 31 + "b*").matches("a" * 64)
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize(
    ("name", "below"),
    [
        ("r1.net.example.com", True),
        ("a.b.net.example.com", True),
        ("net.example.com", False),
        ("evilnet.example.com", False),
        ("net.example.com.evil.test", False),
        ("example.com", False),
    ],
)
def test_a_suffix_ends_at_a_label(name: str, below: bool) -> None:  # noqa: FBT001 - a table's column
    assert is_below(name, ("net.example.com",)) is below


def test_dns_names_are_normalised_before_they_are_held_to_a_suffix() -> None:
    assert allowed_dns_names(["R1.NET.Example.Com", "r1.net.example.com", "bücher.net.example.com"], ["net.example.com"]) == (
        "r1.net.example.com",
        "xn--bcher-kva.net.example.com",
    )
    assert allowed_dns_names([], []) == ()


@pytest.mark.parametrize(
    "name", ["*.net.example.com", "r1.net.example.com.", "192.0.2.7", "r1.net.example.com\0.evil.test", "", "r1.other.example"]
)
def test_what_is_no_host_below_the_suffix_is_refused(name: str) -> None:
    with pytest.raises(NamesNotAuthorised):
        allowed_dns_names([name], ["net.example.com"])


DECEIVING = ("", " router-1", "router-1 ", "router-1\0", "router\n1", "router-\u202e1", "alice@example.com", "r" * 65, "é" * 33)


@pytest.mark.parametrize(("pattern", "name"), [*(("*", name) for name in DECEIVING), ("router-*", "other")])
def test_common_names_that_deceive_or_do_not_match_are_refused(pattern: str, name: str) -> None:
    with pytest.raises(NamesNotAuthorised):
        allowed_common_name(name, Pattern(pattern))


def test_a_common_name_that_matches_is_taken_as_it_stands() -> None:
    assert allowed_common_name("router-1", Pattern("router-*")) == "router-1"
