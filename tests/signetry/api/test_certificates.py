"""``/certificates`` and ``/revocations``: read, downloaded, revoked, held, released."""

from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Engine, event
from sqlmodel import Session, col, select

from ca.records import Certificate
from scep import register
from signetry.access.roles import Role
from tests.signetry.api.conftest import Api
from tests.signetry.api.issuing import issue

ALICE, BOB = "alice@example.com", "bob@example.com"


def serials(api: Api, query: str = "", role: Role = Role.ADMIN) -> list[str]:
    return [item["serial"] for item in api.call("GET", f"/certificates{query}", role).json()["items"]]


def status(api: Api, serial: str) -> str:
    return str(api.call("GET", f"/certificates/{serial}").json()["status"])


def test_certificates_are_listed_newest_first_filtered_and_in_pages(api: Api) -> None:
    old = issue(api, ALICE, validity=timedelta(days=20))
    new = issue(api, ALICE, "smime-dual", device="phone")
    other = issue(api, BOB)
    assert serials(api)[:3] == [other, new, old]
    assert serials(api, f"?person={ALICE}") == [new, old]
    assert serials(api, "?device=phone") == [new]
    assert serials(api, "?profile=identity") == [other, old]
    assert serials(api, "?expiring_days=30") == [old]
    assert serials(api, "?status=revoked") == []
    assert api.call("GET", "/certificates?profile=none").status_code == 400
    assert api.call("GET", "/certificates?person=nobody@example.com").status_code == 404
    first = api.call("GET", f"/certificates?person={ALICE}&limit=1").json()
    # What is issued meanwhile stands before the first page.
    issue(api, ALICE)
    assert serials(api, f"?person={ALICE}&limit=1&after={first['next']}") == [old]


def test_a_longer_list_takes_no_more_statements(api: Api) -> None:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    def taken() -> int:
        statements.clear()
        assert api.call("GET", "/certificates").status_code == 200
        return len(statements)

    issue(api, ALICE, device="phone")
    api.call("GET", "/certificates")
    event.listen(Engine, "before_cursor_execute", note)
    try:
        few = taken()
        for _ in range(5):
            issue(api, BOB, device="tablet")
        assert taken() == few
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_show_tells_whose_a_certificate_is_and_how_it_came_to_be(api: Api) -> None:
    serial = issue(api, ALICE, device="phone")
    shown = api.call("GET", f"/certificates/{serial}").json()
    assert (shown["person"], shown["device"], shown["profile"], shown["authority"]) == (ALICE, "phone", "identity", "issuing")
    assert (shown["emails"], shown["granted_by"], shown["key"]) == ([ALICE], "one-time challenge 17", "EC secp256r1")
    colons = ":".join(serial[i : i + 2] for i in range(0, len(serial), 2)).upper()
    assert api.call("GET", f"/certificates/{colons}").json() == shown


def test_serial_numbers_that_name_nothing(api: Api) -> None:
    issue(api, ALICE)
    for serial, expected in (("abcdef", 404), ("0", 400), ("no-number", 400), ("1" * 39, 400), ("a" * 41, 400)):
        for path in ("", "/pem", "/der", "/chain"):
            assert (serial, api.call("GET", f"/certificates/{serial}{path}").status_code) == (serial, expected)


def test_files_come_with_their_media_types(api: Api) -> None:
    serial = issue(api, ALICE)
    pem, der, chain = (api.call("GET", f"/certificates/{serial}/{form}") for form in ("pem", "der", "chain"))
    certificate = x509.load_pem_x509_certificate(pem.content)
    assert f"{certificate.serial_number:032x}" == serial
    assert der.content == certificate.public_bytes(Encoding.DER)
    first, *issuers = x509.load_pem_x509_certificates(chain.content)
    assert (first, len(issuers)) == (certificate, 2)
    types = ["application/x-pem-file", "application/pkix-cert", "application/pem-certificate-chain"]
    assert [answer.headers["content-type"] for answer in (pem, der, chain)] == types
    assert f'filename="{serial}.cer"' in der.headers["content-disposition"]


def test_what_is_withheld_is_shown_but_not_handed_out(api: Api) -> None:
    """The phone gets it once Intune has taken note of it, and not from whoever can read the record before."""
    serial = issue(api, "alice@example.com")

    def withhold(session: Session) -> None:
        number = session.exec(select(Certificate.id).where(col(Certificate.serial) == serial)).one()
        until = api.house.clock.now() + timedelta(hours=24)
        register.keep(session, register.Answer("0" * 64, "default", "1", number or 0, until), now=api.house.clock.now())

    api.house.transactions.write(withhold)
    assert api.call("GET", f"/certificates/{serial}").status_code == 200
    for role in (Role.ADMIN, Role.MDM):
        for path in ("pem", "der", "chain"):
            refused = api.call("GET", f"/certificates/{serial}/{path}", role)
            assert (refused.status_code, refused.json()["type"].rpartition("#")[2]) == (409, "conflict")
    api.house.transactions.write(lambda session: register.release(session, "0" * 64))
    assert api.call("GET", f"/certificates/{serial}/pem").status_code == 200


def test_a_certificate_is_revoked_once_and_its_crl_owed(api: Api) -> None:
    serial = issue(api, ALICE)
    path = f"/certificates/{serial}/revoke"
    rehearsed = api.call("POST", f"{path}?dry_run=true", Role.OFFICER, json={"reason": "keyCompromise"})
    assert (rehearsed.json()["outcome"], status(api, serial), api.house.publish_crls()) == ("revoked", "good", [])
    date = (api.clock.now() - timedelta(days=1)).replace(microsecond=0)
    revocation = {"reason": "keyCompromise", "invalidity_date": date.isoformat()}
    done = api.call("POST", path, Role.OFFICER, json=revocation).json()
    assert (done["outcome"], done["reason"]) == ("revoked", "keyCompromise")
    assert [outcome.entry_count for outcome in api.house.publish_crls()] == [1]
    assert api.call("POST", path, Role.OFFICER, json=revocation).json()["outcome"] == "unchanged"
    assert api.call("POST", path, json={"reason": "superseded"}).status_code == 409
    assert status(api, serial) == "revoked"


def test_what_is_no_revocation_is_refused(api: Api) -> None:
    serial = issue(api, ALICE)
    for wrong in (
        {"reason": "boredom"},
        {"reason": "removeFromCRL"},
        {"invalidity_date": "2999-01-01T00:00:00Z"},
        {"invalidity_date": "2026-01-01T00:00:00"},
        {"invalidity_date": 1},
        {"invalidity_date": "0001-01-01T00:00:00+23:59"},
        {"why": "superseded"},
    ):
        assert (wrong, api.call("POST", f"/certificates/{serial}/revoke", json=wrong).status_code) == (wrong, 400)
    assert status(api, serial) == "good"


def test_hold_and_release(api: Api) -> None:
    serial = issue(api, ALICE)
    assert api.call("POST", f"/certificates/{serial}/release").status_code == 409
    assert api.call("POST", f"/certificates/{serial}/hold", Role.OFFICER).json()["outcome"] == "held"
    assert status(api, serial) == "on-hold"
    assert api.call("POST", f"/certificates/{serial}/release", Role.OFFICER).json()["outcome"] == "released"
    assert status(api, serial) == "good"


def test_several_are_revoked_together_or_not_at_all(api: Api) -> None:
    first, second = issue(api, ALICE), issue(api, ALICE, device="phone")
    answer = api.call("POST", "/revocations", json={"serials": [first, "abcdef"]})
    assert (answer.status_code, status(api, first)) == (404, "good")
    for chosen, expected in (
        ({"device": "phone"}, [second]),
        ({"person": ALICE, "device": "phone"}, [second]),
        ({"person": ALICE}, [first, second]),
        ({"serials": [first]}, [first]),
    ):
        done = api.call("POST", "/revocations?dry_run=true", json={**chosen, "reason": "superseded"}).json()["items"]
        assert (chosen, [each["serial"] for each in done]) == (chosen, expected)
    api.call("POST", "/revocations", Role.OFFICER, json={"person": ALICE, "reason": "affiliationChanged"})
    assert (status(api, first), status(api, second)) == ("revoked", "revoked")
    assert api.call("POST", "/revocations", json={"person": ALICE}).json() == {"items": []}


def test_one_way_of_choosing_is_needed(api: Api) -> None:
    choices: tuple[dict[str, object], ...] = (
        {},
        {"serials": []},
        {"serials": ["ab"], "person": ALICE},
        {"serials": ["ab"] * 1001},
        {"person": ""},
    )
    for wrong in choices:
        assert (wrong, api.call("POST", "/revocations", json=wrong).status_code) == (wrong, 400)
    assert api.call("POST", "/revocations", json={"person": "nobody@example.com"}).status_code == 404


def test_an_mdm_reads_its_groups_certificates_and_revokes_those_of_its_profiles(api: Api) -> None:
    own, foreign_profile, foreign = issue(api, ALICE), issue(api, ALICE, "smime-dual"), issue(api, BOB)
    assert serials(api, role=Role.MDM) == [foreign_profile, own]
    assert api.call("GET", f"/certificates?person={BOB}", Role.MDM).status_code == 404
    for path in ("", "/pem", "/der", "/chain"):
        assert api.call("GET", f"/certificates/{foreign_profile}{path}", Role.MDM).status_code == 200
        there = api.call("GET", f"/certificates/{foreign}{path}", Role.MDM)
        absent = api.call("GET", f"/certificates/{foreign[::-1]}{path}", Role.MDM)
        assert (there.status_code, there.json()["title"]) == (404, absent.json()["title"])
        assert there.json()["detail"].replace(foreign, "") == absent.json()["detail"].replace(foreign[::-1].lstrip("0"), "")
    assert api.call("POST", f"/certificates/{foreign}/revoke", Role.MDM, json={}).status_code == 404
    assert api.call("POST", f"/certificates/{foreign_profile}/revoke", Role.MDM, json={}).status_code == 403
    assert api.call("POST", "/revocations", Role.MDM, json={"serials": [own, foreign]}).status_code == 404
    assert api.call("POST", "/revocations", Role.MDM, json={"person": BOB}).status_code == 404
    done = api.call("POST", "/revocations", Role.MDM, json={"person": ALICE}).json()["items"]
    assert [each["serial"] for each in done] == [own]
    assert [status(api, serial) for serial in (own, foreign_profile, foreign)] == ["revoked", "good", "good"]


def test_an_officer_revokes_peoples_certificates_and_not_the_authoritys(api: Api) -> None:
    issuing = api.call("GET", "/authorities/issuing").json()["serial"]
    (ra,) = serials(api, "?profile=scep-ra")
    for serial in (issuing, ra):
        for act in ("revoke", "hold", "release"):
            answer = api.call("POST", f"/certificates/{serial}/{act}", Role.OFFICER, json={} if act == "revoke" else None)
            assert (act, answer.status_code) == (act, 403)
        assert api.call("POST", "/revocations", Role.OFFICER, json={"serials": [serial]}).status_code == 403
        answer = api.call("POST", f"/certificates/{serial}/revoke?dry_run=true", json={"reason": "superseded"})
        assert answer.json()["outcome"] == "revoked"
