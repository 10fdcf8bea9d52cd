"""``/imports``: CSV files, row by row, with a report."""

from typing import Any

from signetry.access.roles import Role
from signetry.api.files import CSV_AT_MOST
from signetry.api.imports import MOST_PERSONS, MOST_REVOCATIONS
from tests.signetry.api.conftest import Api
from tests.signetry.api.issuing import issue


def upload(api: Api, path: str, content: bytes, role: Role = Role.ADMIN, media_type: str = "text/csv") -> Any:  # noqa: ANN401 - httpx's
    return api.call("POST", f"/imports/{path}", role, content=content, headers={"Content-Type": media_type})


PERSONS = """upn,email,name,active
taro@example.com,taro@example.com,山田 太郎,yes
alice@example.com,alice@example.com,Alice Smith,
x,y,z,
"""


def test_persons_are_added_and_changed_and_refused_rows_listed(api: Api) -> None:
    for query, seen in (("?dry_run=true", 404), ("", 200)):
        report = upload(api, f"persons{query}", PERSONS.encode()).json()
        assert (report["added"], report["changed"], report["unchanged"], report["refused"]) == (1, 1, 0, 1)
        assert [(problem["line"], problem["field"]) for problem in report["problems"]] == [(4, "email")]
        assert api.call("GET", "/persons/taro@example.com").status_code == seen
    again = upload(api, "persons", PERSONS.encode()).json()
    assert (again["unchanged"], again["dry_run"]) == (2, False)
    assert (
        upload(api, "persons?encoding=cp932", PERSONS.encode("cp932"), media_type="Text/CSV; charset=x").json()["unchanged"] == 2
    )


def test_what_is_no_file_of_persons_is_refused(api: Api) -> None:
    too_many = b"upn,email\n" + b"x,x\n" * (MOST_PERSONS + 1)
    for content in (b"", b"number\n1\n", b"upn\nx@example.com\n", b"\xff\xfe", too_many):
        assert (content, upload(api, "persons", content).status_code) == (content, 400)
    assert upload(api, "persons?encoding=ebcdic", b"upn,email\n").status_code == 400
    assert upload(api, "persons", b"upn,email\n", media_type="application/json").status_code == 415
    assert upload(api, "persons", b"x" * (CSV_AT_MOST + 1)).status_code == 413


def test_certificates_are_revoked_row_by_row(api: Api) -> None:
    first, second = (issue(api, "alice@example.com") for _ in range(2))
    rows = f"serial,reason,invalidity_date\n{first},keycompromise,\n{second},,2026-01-31\nabcdef,,\n{second},boredom,\n".encode()
    for query, status in (("&dry_run=true", "good"), ("", "revoked")):
        report = upload(api, f"revocations?reason=superseded{query}", rows, Role.OFFICER).json()
        outcomes = [(item["line"], item["outcome"], item["reason"]) for item in report["items"]]
        assert outcomes == [
            (2, "revoked", "keyCompromise"),
            (3, "revoked", "superseded"),
            (4, "refused", None),
            (5, "refused", None),
        ]
        assert [api.call("GET", f"/certificates/{serial}").json()["status"] for serial in (first, second)] == [status] * 2


def test_what_is_no_list_of_certificates_is_refused(api: Api) -> None:
    too_many = b"serial\n" + b"ab\n" * (MOST_REVOCATIONS + 1)
    for content in (b"", b"number\n1\n", b"serial,colour\nab,red\n", b"serial\n\xff", too_many):
        assert (content, upload(api, "revocations", content).status_code) == (content, 400)
    for query in ("reason=removeFromCRL", "invalidity_date=2026-01-31", "invalidity_date=0"):
        assert (query, upload(api, f"revocations?{query}", b"serial\n").status_code) == (query, 400)


def test_an_mdms_list_reaches_no_further_than_its_token(api: Api) -> None:
    own, profile, foreign = (
        issue(api, "alice@example.com"),
        issue(api, "alice@example.com", "smime-dual"),
        issue(api, "bob@example.com"),
    )
    report = upload(api, "revocations", f"serial\n{own}\n{profile}\n{foreign}\nabcdef\n".encode(), Role.MDM).json()
    assert [item["outcome"] for item in report["items"]] == ["revoked", "refused", "refused", "refused"]
    there, absent = (item["problem"] for item in report["items"][2:])
    assert there.replace(foreign, "abcdef") == absent
