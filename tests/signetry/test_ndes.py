"""``/certsrv/mscep_admin/``: as those who scrape it expect, and bound to people and devices on record."""

import base64
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select
from starlette.applications import Starlette
from starlette.testclient import TestClient

from audit.records import AuditEvent
from people import devices
from people.devices import DeviceFields
from scep import challenge
from scep.http import ScepApplication
from signetry import ndes
from signetry.access.roles import Role
from signetry.administration.tokens import TokenRequest
from tests.clocks import ManualClock
from tests.signetry import installation
from tests.signetry.api.conftest import GROUP, Api, opened_api

SETTINGS = """
[endpoints.phones]
profiles = ["identity", "smime-dual"]
challenge = "ndes"
[endpoints.phones.ndes]
password_minutes = 30
passwords_at_most = 2
[endpoints.elsewhere]
challenge = "ndes"
"""
PAGE = "/certsrv/mscep_admin/"
# As Fleet looks for it.
FLEET = re.compile(r"(?i)The enrollment challenge password is: <B> (?P<password>\S*)")


class Ndes:
    """The page, a token that reaches it, and who it is for."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.client = TestClient(Starlette(routes=ndes.routes(api.house)), client=("192.0.2.7", 50000))
        request = TokenRequest("jamf", Role.MDM, timedelta(days=30), "", ("phones", "default"), ("identity", "smime-dual"), GROUP)
        self.token = api.make_token(request)

    def get(self, query: str = "?upn=alice@example.com&profile=identity", path: str = PAGE, **headers: str) -> tuple[int, str]:
        """Ask for the page as the token."""
        answer = self.client.get(path + query, headers={"authorization": f"Bearer {self.token}", **headers})
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        return answer.status_code, answer.content.decode("utf-16-le")

    def password(self, query: str = "?upn=alice@example.com&profile=identity", path: str = PAGE) -> str:
        """Obtain a password."""
        status, page = self.get(query, path)
        assert status == 200
        found = FLEET.search(page)
        assert found, page
        return found["password"]


@pytest.fixture
def page(installed_home: Path) -> Iterator[Ndes]:
    """The page over an installation whose token reaches alice: she is in its group."""
    path = installed_home / "signetry.toml"
    path.write_text('certsrv_endpoint = "phones"\n' + path.read_text() + SETTINGS)
    clock = installation.clock_of_today()
    with installation.opened(clock) as house:
        yield Ndes(opened_api(house, clock))


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_the_page_hands_out_a_password_that_is_a_persons(page: Ndes) -> None:
    password = page.password()
    assert re.fullmatch("[0-9A-F]{32}", password)
    with page.api.house.transactions.reading() as session:
        now = page.api.clock.now()
        known = challenge.find(session, challenge.digest(password), endpoint="phones", now=now)
        later = challenge.find(session, challenge.digest(password), endpoint="phones", now=now + timedelta(minutes=30))
        event = session.exec(select(AuditEvent).where(AuditEvent.action == "challenge.minted")).one()
    assert known is not None
    assert (known.live, known.profile, known.redeemed_for) == (True, "identity", None)
    assert later is not None
    assert not later.live
    assert re.fullmatch(r"token:\d+:jamf", event.actor)
    assert event.origin == "192.0.2.7"
    assert password not in str(event)


def test_the_page_reads_as_those_who_scrape_it_expect(page: Ndes) -> None:
    answer = page.client.get(
        PAGE + "?upn=alice@example.com&profile=identity", headers={"authorization": basic("CORP\\ndes", page.token)}
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=UTF-16LE"
    # Python's "UTF-16" without a mark is this machine's order, as it is Windows'.
    text = answer.content.decode("UTF-16")
    assert "This password can be used only once and will expire within 30 minutes." in text
    assert re.search(r"The thumbprint \(hash value\) for the CA certificate is: <B> ([0-9A-F]{8} ){8}</B>", text)
    # The way of PowerShell scripts: the first word that begins with sixteen hexadecimal digits.
    first = next(word for word in text.split() if re.match("[A-F0-9]{16}", word))
    found = FLEET.search(text)
    assert found is not None
    assert first == found["password"]
    # Another's: what follows the first "password is: <B" up to the next tag.
    parts = text.split(">")
    after = next(index for index, part in enumerate(parts) if part.find("The enrollment challenge password is: <B") == 1)
    assert parts[after + 1].strip("</B").strip() == first


@pytest.mark.parametrize("path", ["/certsrv/mscep_admin", PAGE, "/certsrv/phones/mscep_admin/", "/certsrv/phones/mscep_admin"])
def test_every_path_of_the_page_answers(page: Ndes, path: str) -> None:
    assert page.password(path=path)


def test_every_password_is_another(page: Ndes) -> None:
    assert page.password() != page.password()


def test_no_more_are_handed_out_than_may_lie_about(page: Ndes) -> None:
    page.password()
    page.password()
    status, full = page.get()
    assert (status, "The password cache is full." in full, "password is:" in full) == (200, True, False)
    page.api.clock.advance(timedelta(minutes=31))
    assert page.password()


def test_without_a_name_there_is_a_form_and_no_password(page: Ndes) -> None:
    status, form = page.get("")
    assert status == 400
    assert "say whose it is to be" in form
    assert all(f"<OPTION>{profile}</OPTION>" in form for profile in ("identity", "smime-dual"))
    assert "password is:" not in form


REFUSED = [
    ("?upn=alice@example.com", 400, "say for which profile with ?profile=: identity, smime-dual"),
    ("?upn=alice@example.com&profile=mail-all-in-one", 422, "issues identity, smime-dual, not mail-all-in-one"),
    ("?upn=bob@example.com&profile=identity", 404, "nobody has"),
    ("?upn=nobody@example.com&profile=identity", 404, "nobody has"),
    ("?device=bobs&profile=identity", 404, "there is no device bobs"),
    ("?device=fax&profile=identity", 404, "there is no device fax"),
    ("?device=phone&profile=identity", 400, "say whose, with ?upn="),
    ("?upn=alice@example.com&profile=identity&ttl=9999", 400, "nothing else"),
    ("?upn=alice@example.com&upn=bob@example.com&profile=identity", 400, "each once at most"),
    ("?upn=alice%00@example.com&profile=identity", 400, "not printable"),
    ("?device=%3Cscript%3E&profile=identity", 404, "&lt;script&gt;"),
]


@pytest.mark.parametrize(("query", "status", "words"), REFUSED)
def test_what_lies_beyond_the_token_is_not_there(page: Ndes, query: str, status: int, words: str) -> None:
    def add(name: str, owner: str) -> None:
        fields = DeviceFields(name=name, owner=owner)
        house, now = page.api.house, page.api.clock.now()
        house.transactions.write(lambda session: devices.add_device(session, fields, actor=house.actor, now=now))

    add("phone", "alice@example.com")
    add("bobs", "bob@example.com")
    answered, text = page.get(query)
    assert (answered, words in text) == (status, True), text
    assert "password is:" not in text
    assert "<script>" not in text


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/certsrv/elsewhere/mscep_admin/", 404, "no SCEP endpoint &#x27;elsewhere&#x27;; configured are default, phones"),
        ("/certsrv/default/mscep_admin/", 404, "hands out no passwords: its policy is one-time"),
    ],
)
def test_no_other_endpoint_hands_out_passwords(page: Ndes, path: str, status: int, words: str) -> None:
    answered, text = page.get(path=path)
    assert (answered, words in text) == (status, True), text


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer sgt_1_x", "Negotiate TlRMTVNTUA==", "Basic !!!", "Basic " + base64.b64encode(b"\xff:\xff").decode()],
)
def test_without_a_token_there_is_nothing(page: Ndes, authorization: str) -> None:
    answer = page.client.get(PAGE + "?upn=alice@example.com", headers={"authorization": authorization} if authorization else {})
    assert answer.status_code == 401
    # Clients that begin with NTLM go on with Basic when that is what is offered.
    assert answer.headers["www-authenticate"].startswith("Basic realm=")
    assert "You do not have sufficient permission to enroll with SCEP." in answer.content.decode("utf-16-le")


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.MDM])
def test_no_other_role_is_taken(page: Ndes, role: Role) -> None:
    answer = page.client.get(PAGE + "?upn=alice@example.com&profile=identity", headers=page.api.headers(role))
    assert answer.status_code == 403
    assert "You do not have sufficient permission" in answer.content.decode("utf-16-le")


def test_a_revoked_token_is_none(page: Ndes) -> None:
    page.password()
    number = page.token.split("_")[1]
    assert page.api.call("POST", f"/tokens/{number}/revoke").status_code == 200
    assert page.client.get(PAGE, headers={"authorization": f"Bearer {page.token}"}).status_code == 401


def test_another_sites_page_cannot_send_a_browser_here(page: Ndes) -> None:
    status, text = page.get(**{"sec-fetch-site": "cross-site"})
    assert (status, "password is:" in text) == (403, False)


def test_a_request_for_the_head_mints_nothing(page: Ndes) -> None:
    query = "?upn=alice@example.com&profile=identity"
    assert page.client.head(PAGE + query, headers={"authorization": f"Bearer {page.token}"}).status_code == 400
    with page.api.house.transactions.reading() as session:
        assert session.exec(select(AuditEvent).where(AuditEvent.action == "challenge.minted")).all() == []


def test_the_use_of_the_token_is_noted(page: Ndes) -> None:
    page.password()
    number = int(page.token.split("_")[1])
    (token,) = [each for each in page.api.call("GET", "/tokens").json()["items"] if each["id"] == number]
    assert token["last_used_at"] is not None


def test_an_installation_without_such_an_endpoint_has_no_page(installed_home: Path, clock: ManualClock) -> None:
    assert installed_home.exists()
    with installation.opened(clock) as house:
        assert ndes.routes(house) == []


class _Responder:
    """Says at which endpoint it was asked."""

    def capabilities(self, endpoint: str) -> str:
        return endpoint


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/certsrv/mscep/mscep.dll", "phones"),
        ("/certsrv/mscep/mscep.dll/pkiclient.exe", "phones"),
        ("/cgi-bin/pkiclient.exe", "default"),
        ("/scep/other/certsrv/mscep/mscep.dll", "other"),
    ],
)
def test_the_paths_of_ndes_mean_the_endpoint_that_is_configured(path: str, endpoint: str) -> None:
    with ThreadPoolExecutor(1) as executor:
        application = ScepApplication(_Responder(), executor, certsrv="phones")  # type: ignore[arg-type] # as far as it is asked
        answer = TestClient(application).get(path, params={"operation": "GetCACaps"})
    assert answer.text == endpoint
