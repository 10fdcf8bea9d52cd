"""What the TLS listeners tell browsers, and how peers' addresses are written."""

import asyncio

import pytest
from starlette.testclient import TestClient

from signetry.app import WebParts, admin_app, device_app, public_app
from signetry.settings import load_settings
from signetry.transport import client_address, transport_policy
from signetry.web import configure

POLICY = transport_policy(load_settings(public_url="http://pki.example.com"))
HSTS = "strict-transport-security"


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("mdm.example.com", True),
        ("mdm.example.com:8444", True),
        ("192.0.2.7:8444", True),
        ("[2001:db8::1]:8444", True),
        # Browsers would refuse to fetch anything from the public listener, which has this name.
        ("pki.example.com", False),
        ("PKI.example.com:8444", False),
        ("pki.example.com.", False),
        # They would refuse whatever else runs on the machine.
        ("localhost:8443", False),
        ("signetry.localhost:8443", False),
        ("localhost.example.com", True),
        ("", False),
        ("[broken", False),
    ],
)
def test_browsers_are_bound_to_tls_where_no_plain_listener_has_the_name(host: str, *, said: bool) -> None:
    for build in (device_app, admin_app):
        headers = TestClient(build(WebParts(), POLICY)).get("/healthz", headers={"host": host}).headers
        assert headers.get(HSTS) == ("max-age=31536000" if said else None)


def test_the_public_listener_never_speaks_of_tls() -> None:
    headers = TestClient(public_app(WebParts())).get("/healthz", headers={"host": "mdm.example.com"}).headers
    assert HSTS not in headers
    assert "content-security-policy" not in headers


def test_an_address_as_public_url_binds_nothing_and_is_told() -> None:
    policy = transport_policy(load_settings(public_url="http://192.0.2.7"))
    assert any(name == HSTS.encode() for name, _ in policy.headers([(b"host", b"192.0.2.7:8444")]))


def test_it_can_be_shorter_or_left_out() -> None:
    short = transport_policy(load_settings(public_url="http://pki.example.com", hsts_max_age=300))
    assert (HSTS.encode(), b"max-age=300") in short.headers([(b"host", b"mdm.example.com")])
    off = transport_policy(load_settings(public_url="http://pki.example.com", hsts_max_age=0))
    assert not any(name == HSTS.encode() for name, _ in off.headers([(b"host", b"mdm.example.com")]))


def test_with_tls_at_the_public_url_there_is_no_plain_name() -> None:
    policy = transport_policy(load_settings(public_url="https://pki.example.com"))
    assert any(name == HSTS.encode() for name, _ in policy.headers([(b"host", b"pki.example.com")]))


def test_browsers_are_told_what_not_to_do() -> None:
    headers = TestClient(admin_app(WebParts(), POLICY)).get("/healthz").headers
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "form-action 'none'" in headers["content-security-policy"]
    assert "camera=()" in headers["permissions-policy"]


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:DB8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("unknown", "unknown"),
        ("<script>", "unknown"),
        ("1" * 100_000, "unknown"),
        ("", "unknown"),
    ],
)
def test_an_address_is_written_in_one_way_and_nothing_else_is_one(given: str, written: str) -> None:
    assert client_address(given) == written


async def _seen(forwarded: bytes, peer: str, networks: list[str]) -> str:
    """Return the client that the application sees behind uvicorn's middleware and ours."""
    seen: list[str] = []

    async def app(scope: object, _receive: object, _send: object) -> None:
        seen.append(scope["client"][0])  # type: ignore[index] # a mapping

    config = configure(app, load_settings(trusted_proxies=networks))
    config.load()
    scope = {"type": "http", "client": (peer, 1234), "headers": [(b"x-forwarded-for", forwarded)]}
    await config.loaded_app(scope, None, None)
    return client_address(seen[0])


@pytest.mark.parametrize(
    ("forwarded", "peer", "client"),
    [
        (b"198.51.100.7", "10.1.1.1", "198.51.100.7"),
        # The last hop that is no proxy of ours; what stands before it is the client's own claim.
        (b"1.2.3.4, 198.51.100.7, 10.9.9.9", "10.1.1.1", "198.51.100.7"),
        (b"1.2.3.4, 2001:db8:7::7", "fd00::1", "2001:db8:7::7"),
        (b"[2001:db8:7::7]:4711, fd00::2", "fd00::1", "2001:db8:7::7"),
        # A dual-stack listener sees its IPv4 peers so.
        (b"198.51.100.7", "::ffff:10.1.1.1", "198.51.100.7"),
        # Peers that are not trusted say nothing.
        (b"198.51.100.7", "203.0.113.9", "203.0.113.9"),
        (b"198.51.100.7", "2001:db8::1", "2001:db8::1"),
        (b"198.51.100.7", "::ffff:203.0.113.9", "203.0.113.9"),
        (b"not an address", "10.1.1.1", "unknown"),
        (b"", "10.1.1.1", "10.1.1.1"),
    ],
)
def test_forwarded_addresses_count_from_trusted_proxies_only(forwarded: bytes, peer: str, client: str) -> None:
    assert asyncio.run(_seen(forwarded, peer, ["10.0.0.0/8", "fd00::/16"])) == client
