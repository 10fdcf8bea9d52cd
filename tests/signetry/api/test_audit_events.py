"""``/audit-events``, ``/endpoints`` and ``/doctor``: what is only read."""

from datetime import timedelta

from signetry.access.roles import Role
from tests.signetry.api.conftest import Api


def test_events_are_read_newest_first_filtered_and_in_pages(api: Api) -> None:
    before = api.clock.now()
    api.clock.advance(timedelta(minutes=1))
    api.call("POST", "/groups", json={"name": "Board"})
    api.clock.advance(timedelta(minutes=1))
    api.call("DELETE", "/groups/Board")
    page = api.call("GET", "/audit-events?actor=token:1:admin", Role.AUDITOR).json()
    assert [event["action"] for event in page["items"]] == ["group.removed", "group.added"]
    assert {event["origin"] for event in page["items"]} == {"192.0.2.7"}
    first = api.call("GET", "/audit-events?limit=1").json()
    second = api.call("GET", f"/audit-events?limit=1&after={first['next']}").json()
    assert first["items"] + second["items"] == page["items"]
    moments = {"since": (before + timedelta(minutes=1)).isoformat(), "until": (before + timedelta(minutes=2)).isoformat()}
    (event,) = api.call("GET", "/audit-events", params=moments).json()["items"]
    assert event["action"] == "group.added"
    for wrong in ("since=yesterday", "until=0", "since=9999-12-31T23:59:59-23:59", "after=bm9uZQ", "who=root"):
        assert (wrong, api.call("GET", f"/audit-events?{wrong}").status_code) == (wrong, 400)


def test_no_event_holds_a_token_or_a_challenge(api: Api) -> None:
    challenge = api.call("POST", "/challenges", json={"person": "alice@example.com"}).json()["challenges"][0]
    text = api.call("GET", "/audit-events?limit=1000").text
    assert challenge not in text
    assert not [token for token in api.tokens.values() if token.rsplit("_", 1)[1] in text]


def test_endpoints_are_shown_as_the_settings_have_them(api: Api) -> None:
    (listed,) = api.call("GET", "/endpoints").json()["items"]
    assert api.call("GET", "/endpoints/default").json() == listed
    assert (listed["url"], listed["issuing_ca"]) == ("http://pki.example.com/scep/default", "issuing")
    assert api.call("GET", "/endpoints/nowhere").status_code == 404
    assert api.call("GET", "/endpoints/No%20name").status_code == 400


def test_the_doctor_says_what_is_broken(api: Api) -> None:
    healthy = api.call("GET", "/doctor").json()
    assert (healthy["broken"], [item for item in healthy["items"] if item["severity"] == "error"]) == (False, [])
    # Nobody has made CRLs meanwhile.
    api.clock.advance(timedelta(days=2))
    broken = api.call("GET", "/doctor", Role.AUDITOR).json()
    assert broken["broken"]
    assert "CRL of issuing" in {item["check"] for item in broken["items"] if item["severity"] == "error"}
