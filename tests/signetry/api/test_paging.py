"""Lists in pages: nothing twice, nothing left out, and cursors that are ours or refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signetry.access.roles import Role
from signetry.administration.tokens import TokenRequest
from signetry.api.paging import InvalidCursor, decode_cursor, encode_cursor
from tests.signetry.api.conftest import Api

STORABLE = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=100)
KEYS = st.lists(st.integers(-(2**63) + 1, 2**63 - 1) | STORABLE, min_size=1, max_size=3)


def walk(api: Api, path: str) -> list[Any]:
    """Follow the Link headers from ``path`` to the end; return the items of all pages."""
    items: list[Any] = []
    url = f"/api/v1{path}"
    while url:
        answer = api.client.get(url, headers=api.headers(Role.ADMIN))
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        assert ("next" in answer.links) == (answer.json()["next"] is not None)
        url = answer.links["next"]["url"] if "next" in answer.links else ""
    return items


def test_the_pages_of_a_list_hold_each_item_once(api: Api) -> None:
    for number in range(8):
        api.make_token(TokenRequest(f"number {number}", Role.AUDITOR))
    everything = api.call("GET", "/tokens").json()["items"]
    assert len(everything) == 13
    for limit in (1, 2, 5, 12, 13, 14, 1000):
        assert [item["id"] for item in walk(api, f"/tokens?limit={limit}")] == [item["id"] for item in everything]


def test_a_walk_keeps_its_filters(api: Api) -> None:
    api.call("POST", "/tokens/5/revoke")
    assert [item["id"] for item in walk(api, "/tokens?good=true&limit=2")] == [1, 2, 3, 4]


def test_what_is_added_meanwhile_displaces_nothing(api: Api) -> None:
    first = api.call("GET", "/tokens?limit=3").json()
    api.make_token(TokenRequest("late", Role.AUDITOR))
    second = api.call("GET", f"/tokens?limit=3&after={first['next']}").json()
    assert [item["id"] for item in first["items"] + second["items"]] == [1, 2, 3, 4, 5, 6]
    assert second["next"] is None


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "1e2", "", "9" * 5000])
def test_a_page_has_between_one_and_a_thousand_items(api: Api, limit: str) -> None:
    assert api.call("GET", f"/tokens?limit={limit}").status_code == 400


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "",
        "W10",
        encode_cursor("text"),
        encode_cursor(1, 2),
        encode_cursor(2**63),
        "W3RydWVd",
        "!!!!",
        "WzFd" * 400,
        "W1tbW1tb",
    ],
)
def test_a_cursor_that_this_list_did_not_give_is_refused(api: Api, cursor: str) -> None:
    assert api.call("GET", f"/tokens?after={cursor}").status_code == 400


@given(KEYS)
def test_a_cursor_comes_back_as_its_key(key: list[int | str]) -> None:
    cursor = encode_cursor(*key)
    if len(cursor) <= 1000:
        assert decode_cursor(cursor, *(type(part) for part in key)) == tuple(key)
    else:
        with pytest.raises(InvalidCursor):
            decode_cursor(cursor, *(type(part) for part in key))


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")) | st.from_regex(r"[A-Za-z0-9_-]{0,60}"))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    for types in ((int,), (str,), (str, int)):
        try:
            key = decode_cursor(text, *types)
        except InvalidCursor:
            continue
        assert tuple(type(part) for part in key) == types
