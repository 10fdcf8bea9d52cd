"""``/challenges``: minted for who may redeem them, within what a token reaches."""

from datetime import datetime, timedelta

from scep import challenge
from signetry.access.roles import Role
from tests.signetry.api.conftest import Api

ALICE = {"person": "alice@example.com"}


def test_challenges_are_good_for_what_was_asked(api: Api) -> None:
    answer = api.call("POST", "/challenges", json={**ALICE, "count": 3, "lifetime_seconds": 900, "profile": "smime-dual"})
    assert answer.status_code == 201
    minted = answer.json()
    assert len(set(minted["challenges"])) == 3
    assert datetime.fromisoformat(minted["expires_at"]) == api.clock.now() + timedelta(minutes=15)
    with api.house.transactions.reading() as session:
        found = [
            challenge.find(session, challenge.digest(text), endpoint="default", now=api.clock.now())
            for text in minted["challenges"]
        ]
    assert {known.profile for known in found if known} == {"smime-dual"}


def test_a_repeated_request_gets_the_same_challenges(api: Api) -> None:
    first, second = (api.call("POST", "/challenges", json=ALICE, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert first.json() == second.json()
    (event,) = api.call("GET", "/audit-events?action=challenge.minted").json()["items"]
    assert first.json()["challenges"][0] not in str(event)


def test_what_could_not_be_redeemed_is_not_minted(api: Api) -> None:
    api.call("POST", "/devices", json={"name": "bobs", "owner": "bob@example.com"})
    wrong: list[tuple[dict[str, object], int]] = [
        ({"person": "nobody@example.com"}, 404),
        ({"device": "fax"}, 404),
        ({"endpoint": "nowhere"}, 404),
        ({"profile": "device"}, 422),
        ({"profile": "scep-ra"}, 400),
        ({"person": None}, 400),
        ({"device": "bobs"}, 422),
        ({"count": 0}, 400),
        ({"count": 10_001}, 400),
        ({"count": "1"}, 400),
        ({"lifetime_seconds": 90 * 86_400 + 1}, 400),
    ]
    for change, status in wrong:
        assert (change, api.call("POST", "/challenges", json={**ALICE, **change}).status_code) == (change, status)
    assert api.call("GET", "/audit-events?action=challenge.minted").json()["items"] == []


def test_for_somebody_inactive_nothing_is_minted(api: Api) -> None:
    api.call("POST", "/persons/alice@example.com/deactivate")
    assert api.call("POST", "/challenges", json=ALICE).status_code == 422


def test_an_mdm_mints_within_its_scope(api: Api) -> None:
    assert api.call("POST", "/challenges", Role.MDM, json=ALICE).status_code == 201
    there, absent = (api.call("POST", "/challenges", Role.MDM, json={"person": f"{name}@example.com"}) for name in ("bob", "nob"))
    assert (there.status_code, there.text.replace("bob", "nob")) == (404, absent.text)
    refused = api.call("POST", "/challenges", Role.MDM, json={**ALICE, "profile": "smime-dual"})
    assert refused.status_code == 422
    # Neither profiles nor endpoints beyond its own are named.
    assert refused.json()["detail"] == "endpoint default issues identity, not smime-dual"
    unknown = api.call("POST", "/challenges", Role.MDM, json={**ALICE, "endpoint": "nowhere"})
    assert unknown.json()["detail"] == "there is no SCEP endpoint 'nowhere'; configured are default"
