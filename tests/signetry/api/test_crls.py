"""``/crls``: what is published, what it lists, and new ones at once."""

from cryptography import x509

from tests.signetry.api.conftest import Api
from tests.signetry.api.issuing import issue


def revoke(api: Api, count: int) -> list[str]:
    serials = [issue(api, "alice@example.com") for _ in range(count)]
    api.call("POST", "/revocations", json={"serials": serials, "reason": "superseded"})
    return sorted(serials)


def test_the_newest_crl_of_each_authority_is_shown(api: Api) -> None:
    listed = api.call("GET", "/crls").json()["items"]
    assert [crl["ca"] for crl in listed] == ["issuing", "root"]
    assert api.call("GET", "/crls/issuing").json() == listed[0]
    assert (listed[0]["number"], listed[0]["entries"]) == (1, 0)
    first = api.call("GET", "/crls?limit=1").json()
    assert api.call("GET", f"/crls?limit=1&after={first['next']}").json()["items"] == listed[1:]
    for path in ("", "/entries", "/pem"):
        assert api.call("GET", f"/crls/nobodys{path}").status_code == 404


def test_a_new_one_is_owed_at_once_and_the_worker_makes_it(api: Api) -> None:
    assert api.house.publish_crls() == []
    answer = api.call("POST", "/crls/issuing/issue")
    assert (answer.status_code, answer.json()["number"]) == (202, 1)
    api.house.publish_crls()
    assert [crl["number"] for crl in api.call("GET", "/crls").json()["items"]] == [2, 1]
    answer = api.call("POST", "/crls")
    assert (answer.status_code, len(answer.json()["items"])) == (202, 2)
    api.house.publish_crls()
    assert [crl["number"] for crl in api.call("GET", "/crls").json()["items"]] == [3, 2]
    assert api.call("POST", "/crls/nobodys/issue").status_code == 404


def test_entries_come_in_pages(api: Api) -> None:
    serials = revoke(api, 5)
    api.house.publish_crls()
    found: list[str] = []
    after = ""
    while True:
        page = api.call("GET", f"/crls/issuing/entries?limit=2{after}").json()
        found += [entry["serial"] for entry in page["items"]]
        assert {entry["reason"] for entry in page["items"]} == {"superseded"}
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert found == serials
    assert api.call("GET", "/crls/issuing/entries?after=bm9uZQ").status_code == 400


def test_the_file_is_pem(api: Api) -> None:
    serials = revoke(api, 1)
    api.house.publish_crls()
    answer = api.call("GET", "/crls/issuing/pem")
    assert answer.headers["content-type"] == "application/x-pem-file"
    assert [f"{entry.serial_number:032x}" for entry in x509.load_pem_x509_crl(answer.content)] == serials
