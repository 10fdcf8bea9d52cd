"""What a relying party gets over HTTP: the file, its validators, and how long it may keep it."""

import asyncio
from datetime import timedelta

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from sqlalchemy import insert, update
from sqlmodel import col
from starlette.applications import Starlette

from ca.records import CertificationAuthority
from crl.http import routes
from crl.publication import owe
from signetry.database import Database
from tests.clocks import ManualClock
from tests.crl.world import ISSUING, World


class _Client:
    """Asks the application itself, no socket in between."""

    def __init__(self, application: Starlette) -> None:
        self._transport = httpx2.ASGITransport(application)

    def request(self, method: str, path: str, headers: dict[str, str] | None = None) -> httpx2.Response:
        async def ask() -> httpx2.Response:
            async with httpx2.AsyncClient(transport=self._transport, base_url="http://ca.example") as client:
                return await client.request(method, path, headers=headers)

        return asyncio.run(ask())

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx2.Response:
        return self.request("GET", path, headers)


@pytest.fixture
def world(sqlite_store: Database, clock: ManualClock, ec_key: ec.EllipticCurvePrivateKey) -> World:
    return World(sqlite_store, clock, ec_key, ec_key)


@pytest.fixture
def client(world: World) -> _Client:
    return _Client(Starlette(routes=routes(world.transactions, world.clock)))


@pytest.fixture
def published(world: World) -> World:
    world.start()
    world.publish()
    return world


@pytest.mark.usefixtures("published")
def test_a_crl_is_served_with_its_validators(client: _Client) -> None:
    answer = client.get("/crl/issuing.crl")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/pkix-crl")
    assert x509.load_der_x509_crl(answer.content).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 1
    assert answer.headers["Cache-Control"] == "public, max-age=300, must-revalidate"
    assert answer.headers["Expires"] == "Tue, 02 Jun 2026 11:55:00 GMT"
    assert answer.headers["Last-Modified"] == "Mon, 01 Jun 2026 12:00:00 GMT"
    assert answer.headers["ETag"].strip('"').isalnum()


@pytest.mark.usefixtures("published")
def test_head_answers_as_get_without_the_body(client: _Client) -> None:
    got, head = client.get("/crl/root.crl"), client.request("HEAD", "/crl/root.crl")
    assert head.content == b""
    assert head.headers == got.headers
    assert int(head.headers["Content-Length"]) == len(got.content)


@pytest.mark.usefixtures("published")
def test_what_the_client_has_is_not_sent_again(client: _Client) -> None:
    first = client.get("/crl/issuing.crl")
    etag, modified = first.headers["ETag"], first.headers["Last-Modified"]
    for headers in (
        {"If-None-Match": etag},
        {"If-None-Match": f'"other", W/{etag}'},
        {"If-None-Match": "*"},
        {"If-Modified-Since": modified},
    ):
        answer = client.get("/crl/issuing.crl", headers=headers)
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", etag)
    for headers in (
        {"If-None-Match": '"other"'},
        {"If-None-Match": '"other"', "If-Modified-Since": modified},
        {"If-Modified-Since": "Mon, 01 Jun 2026 11:59:59 GMT"},
        {"If-Modified-Since": "yesterday"},
        {"If-Modified-Since": "Mon, 01 Jun 99999999999999999999 11:59:59 GMT"},
    ):
        assert client.get("/crl/issuing.crl", headers=headers).status_code == 200


def test_a_new_crl_is_served_from_then_on(client: _Client, published: World) -> None:
    first = client.get("/crl/issuing.crl")
    published.transactions.write(lambda session: owe(session, ISSUING, published.clock.now()))
    published.publish()
    second = client.get("/crl/issuing.crl", headers={"If-None-Match": first.headers["ETag"]})
    assert second.status_code == 200
    assert x509.load_der_x509_crl(second.content).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 2


def test_a_crl_near_its_end_may_not_be_kept_beyond(client: _Client, published: World) -> None:
    published.clock.advance(hours=23, minutes=54)
    assert "max-age=60," in client.get("/crl/issuing.crl").headers["Cache-Control"]
    published.clock.advance(timedelta(days=1))
    answer = client.get("/crl/issuing.crl")
    assert answer.status_code == 200
    assert "max-age=0," in answer.headers["Cache-Control"]


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("path", ["/crl/other.crl", "/aia/other.cer", "/aia/other.p7c", "/crl/issuing", "/crl/a/issuing.crl"])
def test_what_does_not_exist_is_not_found(client: _Client, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/crl/%00.crl", "/aia/%00.cer", "/aia/issuing%00.p7c"])
def test_a_name_that_no_database_could_hold_is_not_found(
    store: Database, clock: ManualClock, ec_key: ec.EllipticCurvePrivateKey, path: str
) -> None:
    """PostgreSQL refuses NUL in a text."""
    world = World(store, clock, ec_key, ec_key)
    assert _Client(Starlette(routes=routes(world.transactions, world.clock))).get(path).status_code == 404


def test_before_the_first_crl_the_client_is_asked_to_come_back(client: _Client) -> None:
    answer = client.get("/crl/issuing.crl")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.usefixtures("published")
def test_other_methods_are_refused(client: _Client) -> None:
    assert client.request("POST", "/crl/issuing.crl").status_code == 405


def test_an_authoritys_certificate_and_chain_are_served(client: _Client, world: World) -> None:
    certificate = client.get("/aia/issuing.cer")
    assert certificate.headers["Content-Type"] == "application/pkix-cert"
    assert certificate.content == world.issuing_certificate.public_bytes(Encoding.DER)
    chain = client.get("/aia/issuing.p7c")
    assert chain.headers["Content-Type"] == "application/pkcs7-mime"
    found = pkcs7.load_der_pkcs7_certificates(chain.content)
    assert set(found) == {world.issuing_certificate, world.root_certificate}
    assert client.get("/aia/issuing.cer", headers={"If-None-Match": certificate.headers["ETag"]}).status_code == 304


def test_a_re_issued_authority_certificate_takes_over_and_a_revoked_one_does_not(client: _Client, world: World) -> None:
    newer = world.reissue()
    assert client.get("/aia/issuing.cer").content == newer.public_bytes(Encoding.DER)
    world.revoke(newer)
    assert client.get("/aia/issuing.cer").content == world.issuing_certificate.public_bytes(Encoding.DER)


def test_an_authority_above_ours_has_its_certificate_served_and_no_crl(world: World, client: _Client) -> None:
    foreign = update(CertificationAuthority).where(col(CertificationAuthority.name) == "root").values(key_reference=None)
    world.transactions.write(lambda session: session.execute(foreign) and None)
    world.start()
    assert [outcome.authority_id for outcome in world.publish()] == [ISSUING]
    assert client.get("/crl/root.crl").status_code == 404
    assert client.get("/aia/root.cer").status_code == 200
    assert len(pkcs7.load_der_pkcs7_certificates(client.get("/aia/issuing.p7c").content)) == 2


def test_an_authority_that_awaits_its_certificate_publishes_nothing(world: World, client: _Client) -> None:
    awaited = {"name": "mail", "key_reference": "mail", "key_algorithm": "p256", "created_at": world.clock.now()}
    world.transactions.write(lambda session: session.execute(insert(CertificationAuthority).values(awaited)) and None)
    world.start()
    assert len(world.publish()) == 2
    assert client.get("/aia/mail.cer").status_code == 404
    assert client.get("/crl/mail.crl").status_code == 503
