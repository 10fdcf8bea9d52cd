"""``/archived-keys``: files in, and what is in the archive out."""

import base64
import threading
import time
from typing import Any

import pytest

from pkcs_import.container import MAX_BYTES
from signetry.access.roles import Role
from tests.pkcs_import.pfx_files import PASSWORD, Wish, simple_pfx
from tests.signetry.api.conftest import Api


def upload(api: Api, data: bytes, *, dry_run: bool = False, role: Role = Role.ADMIN, **more: object) -> Any:  # noqa: ANN401 - httpx's
    """Upload a file."""
    body = {"file": base64.b64encode(data).decode(), "password": PASSWORD, **more}
    return api.call("POST", f"/archived-keys?dry_run={str(dry_run).lower()}", role, json=body)


def listed(api: Api, query: str = "") -> list[Any]:
    """Return the keys that a list shows."""
    items: list[Any] = api.call("GET", f"/archived-keys{query}", Role.AUDITOR).json()["items"]
    return items


def test_a_file_is_imported_for_whose_address_is_in_it_and_once(api: Api) -> None:
    data = simple_pfx()
    rehearsed = upload(api, data, dry_run=True).json()
    assert (rehearsed["outcome"], listed(api)) == ("imported", [])
    report = upload(api, data, name="alice.p12").json()
    assert (report["outcome"], report["upn"], report["file"]) == ("imported", "alice@example.com", "alice.p12")
    assert [(each["subject"], each["purpose"], each["trust"]) for each in report["certificates"]] == [
        ("CN=Alice", "encryption", "unknown")
    ]
    assert upload(api, data).json()["outcome"] == "already there"
    (key,) = listed(api, "?person=alice@example.com")
    assert (key["person"], key["origin"]) == ("alice@example.com", "imported")
    assert listed(api, "?person=bob@example.com") == []
    assert api.call("GET", f"/archived-keys/{key['id']}", Role.RECOVERY).json() == key


def test_a_file_may_be_named_somebodys_and_wanted_for_one_purpose(api: Api) -> None:
    report = upload(api, simple_pfx(Wish(("old@example.com",))), person="bob@example.com", purpose="encryption").json()
    assert (report["outcome"], report["upn"]) == ("imported", "bob@example.com")
    assert "name somebody else" in report["notes"][0]


def test_lists_come_in_pages_the_latest_first(api: Api) -> None:
    for _ in range(3):
        assert upload(api, simple_pfx()).status_code == 200
    first = api.call("GET", "/archived-keys?limit=2").json()
    second = api.call("GET", f"/archived-keys?limit=2&after={first['next']}").json()
    numbers = [each["id"] for each in (*first["items"], *second["items"])]
    assert numbers == sorted(numbers, reverse=True)
    assert (len(numbers), second["next"]) == (3, None)


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"password": "another"}, 400, "the password does not open"),
        ({"password": None}, 400, "the password does not open"),
        ({"file": "not base64!"}, 400, "file: it is not base64"),
        ({"file": base64.b64encode(b"rubbish").decode()}, 400, "PKCS #12"),
        ({"person": "zoe@example.com"}, 404, "nobody has the UPN or mail address zoe@example.com"),
        ({"purpose": "signing"}, 400, "is for encryption only"),
        ({"file": base64.b64encode(bytes(MAX_BYTES + 1)).decode()}, 400, "more than 1 MiB"),
        ({"file": "A" * (2 << 20)}, 413, ""),
    ],
)
def test_each_refusal_says_why_and_repeats_no_secret(api: Api, body: dict[str, object], status: int, detail: str) -> None:
    whole = {"file": base64.b64encode(simple_pfx()).decode(), "password": PASSWORD, **body}
    answer = api.call("POST", "/archived-keys", json=whole)
    assert (answer.status_code, detail in answer.json()["detail"]) == (status, True), answer.json()
    assert PASSWORD not in answer.text
    assert "another" not in answer.text


def test_a_password_that_breaks_the_rules_is_not_repeated(api: Api) -> None:
    answer = upload(api, simple_pfx(), password="secret" * 1000)
    assert answer.status_code == 400
    assert "secret" not in answer.text


def test_nobodys_and_several_persons_files_are_told_apart(api: Api) -> None:
    assert upload(api, simple_pfx(Wish(("zoe@example.com",)))).status_code == 404
    answer = upload(api, simple_pfx(Wish(("alice@example.com", "bob@example.com"))))
    assert (answer.status_code, "several persons" in answer.json()["detail"]) == (409, True)


def test_there_is_no_key_that_is_not_there(api: Api) -> None:
    assert api.call("GET", "/archived-keys/4711").status_code == 404
    assert api.call("GET", "/archived-keys?person=zoe@example.com").status_code == 404


def test_others_are_answered_while_a_file_keeps_its_process_busy(api: Api) -> None:
    with api.house.workshop.open(simple_pfx(), PASSWORD, ours=(), now=api.clock.now()):
        answers: list[int] = []
        thread = threading.Thread(target=lambda: answers.append(upload(api, simple_pfx()).status_code))
        thread.start()
        begun = time.monotonic()
        assert api.call("GET", "/whoami").status_code == 200
        assert time.monotonic() - begun < 5
        assert answers == []
    thread.join()
    assert answers == [200]
