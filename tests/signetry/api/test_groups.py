"""``/groups``: sets of persons."""

from tests.signetry.api.conftest import Api


def test_groups_are_recorded_listed_and_forgotten(api: Api) -> None:
    made = api.call("POST", "/groups", json={"name": "Board", "description": "Who decides"})
    assert (made.status_code, made.json()["members"]) == (201, 0)
    assert [group["name"] for group in api.call("GET", "/groups").json()["items"]] == ["Board", "phones"]
    first = api.call("GET", "/groups?limit=1").json()
    (second,) = api.call("GET", f"/groups?limit=1&after={first['next']}").json()["items"]
    assert (first["items"], second["name"]) == ([made.json()], "phones")
    assert api.call("GET", f"/groups/{made.json()['id']}").json() == made.json()
    assert api.call("DELETE", "/groups/Board").json() == made.json()
    assert api.call("DELETE", "/groups/Board").status_code == 404
    assert api.call("GET", "/groups/Board").status_code == 404


def test_what_cannot_be_a_group_is_refused(api: Api) -> None:
    for wrong, status in (
        ({"name": "phones"}, 409),
        ({"name": " "}, 400),
        ({"name": "a\tb"}, 400),
        ({}, 400),
        ({"name": 7}, 400),
    ):
        assert (wrong, api.call("POST", "/groups", json=wrong).status_code) == (wrong, status)


def test_a_group_whose_name_holds_a_slash_is_addressed_by_its_number(api: Api) -> None:
    number = api.call("POST", "/groups", json={"name": "Sales/EMEA"}).json()["id"]
    assert api.call("PUT", f"/groups/{number}/members/bob@example.com").json()["members"] == 1


def test_members_come_and_go(api: Api) -> None:
    member = "/groups/phones/members/bob@example.com"
    assert [api.call("PUT", member).json()["members"] for _ in range(2)] == [2, 2]
    first = api.call("GET", "/groups/phones/members?limit=1").json()
    second = api.call("GET", f"/groups/phones/members?limit=1&after={first['next']}").json()
    assert [person["upn"] for person in first["items"] + second["items"]] == ["alice@example.com", "bob@example.com"]
    assert [api.call("DELETE", member).json()["members"] for _ in range(2)] == [1, 1]
    assert api.call("PUT", "/groups/phones/members/nobody@example.com").status_code == 404
    assert api.call("PUT", "/groups/nobodys/members/bob@example.com").status_code == 404
    assert api.call("GET", "/groups/nobodys/members").status_code == 404
