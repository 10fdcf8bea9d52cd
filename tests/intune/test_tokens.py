"""Tokens by MSAL: secret or certificate, kept, renewed, refused."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from foundation.errors import Unavailable
from intune.errors import AccessRefused, IntuneUnavailable
from intune.tenant import ClientCertificate, ClientSecret
from intune.tokens import Tokens
from intune.transport import Proxy, Transport
from intune.waiting import Deadline
from scep.client import named, throwaway_signer
from signetry.errors import ConfigurationError
from tests.daemons.directories.tls import ServerTls
from tests.intune.proxy import running_proxy
from tests.intune.server import CLIENT_SECRET, Cloud, Reply
from tests.intune.tenants import PassingTicker, tenant_of

SCOPE = "https://api.manage.microsoft.com//.default"


def soon(ticker: PassingTicker) -> Deadline:
    return Deadline.after(20, ticker)


def test_a_token_is_kept_for_each_scope(cloud: Cloud, transport: Transport, ticker: PassingTicker) -> None:
    tokens = Tokens(tenant_of(cloud), transport)
    graph = f"{cloud.url}/.default"
    first = tokens.bearer(SCOPE, soon(ticker))
    assert tokens.bearer(SCOPE, soon(ticker)) == first
    assert tokens.bearer(graph, soon(ticker)) != first
    assert cloud.logons == [SCOPE, graph]


def test_threads_that_need_the_same_token_ask_for_one(cloud: Cloud, transport: Transport, ticker: PassingTicker) -> None:
    tokens = Tokens(tenant_of(cloud), transport)
    with ThreadPoolExecutor(8) as threads:
        got = {each.result() for each in [threads.submit(tokens.bearer, SCOPE, soon(ticker)) for _ in range(32)]}
    assert len(got) == 1
    assert cloud.logons == [SCOPE]


def test_a_token_near_its_end_is_replaced(cloud: Cloud, transport: Transport, ticker: PassingTicker) -> None:
    tokens = Tokens(tenant_of(cloud), transport)
    cloud.token_seconds = 200
    first = tokens.bearer(SCOPE, soon(ticker))
    assert tokens.bearer(SCOPE, soon(ticker)) != first


def test_a_certificate_does_as_well_as_a_secret(
    cloud: Cloud, transport: Transport, ticker: PassingTicker, rsa_key: rsa.RSAPrivateKey
) -> None:
    certificate = throwaway_signer(rsa_key, named("signetry at Contoso")).certificate
    cloud.certificate = certificate
    credential = ClientCertificate(
        certificate.public_bytes(Encoding.PEM).decode(),
        rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )
    tokens = Tokens(tenant_of(cloud, credential=lambda: credential), transport)
    assert tokens.bearer(SCOPE, soon(ticker))
    assert "PRIVATE KEY" not in repr(credential)


def test_a_refused_secret_is_read_again_from_its_file_but_not_at_once(
    cloud: Cloud, transport: Transport, ticker: PassingTicker
) -> None:
    secrets = ["one that has expired", CLIENT_SECRET]
    tokens = Tokens(tenant_of(cloud, credential=lambda: ClientSecret(secrets.pop(0))), transport)
    with pytest.raises(AccessRefused, match="AADSTS7000215"):
        tokens.bearer(SCOPE, soon(ticker))
    with pytest.raises(AccessRefused, match="AADSTS7000215"):
        tokens.bearer(SCOPE, soon(ticker))
    assert len(secrets) == 1
    ticker.seconds += 16
    assert tokens.bearer(SCOPE, soon(ticker))


def test_a_secret_that_cannot_be_read_is_no_refusal_of_anybody_and_names_no_path(
    cloud: Cloud, transport: Transport, ticker: PassingTicker
) -> None:
    def unreadable() -> ClientSecret:
        raise ConfigurationError(f"intune.client_secret_file: {Path('/etc/secret')} cannot be read")

    with pytest.raises(Unavailable) as refused:
        Tokens(tenant_of(cloud, credential=unreadable), transport).bearer(SCOPE, soon(ticker))
    assert "/etc" not in str(refused.value)


def test_an_unknown_tenant_is_said_to_be_one(cloud: Cloud, transport: Transport, ticker: PassingTicker) -> None:
    cloud.answer("configuration", Reply(400, b'{"error": "invalid_tenant"}'))
    with pytest.raises(AccessRefused, match="does not know this tenant"):
        Tokens(tenant_of(cloud), transport).bearer(SCOPE, soon(ticker))


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500, b"{}"),
        Reply(200, b"<html>"),
        Reply(200, b"[]"),
        Reply(200, b"{}"),
        Reply(200, b'"x"'),
        Reply(200, b'{"token_endpoint": "http://127.0.0.1/token", "authorization_endpoint": "http://127.0.0.1/"}'),
    ],
    ids=lambda reply: repr(reply.body[:10]),
)
def test_a_document_of_the_tenant_that_is_none_is_asked_for_again(
    cloud: Cloud, transport: Transport, ticker: PassingTicker, reply: Reply
) -> None:
    tokens = Tokens(tenant_of(cloud), transport)
    cloud.answer("configuration", reply)
    with pytest.raises(IntuneUnavailable):
        tokens.bearer(SCOPE, soon(ticker))
    ticker.seconds += 60
    assert tokens.bearer(SCOPE, soon(ticker))


@pytest.mark.parametrize(
    "reply",
    [Reply(500, b"{}"), Reply(200, b"<html>"), Reply(200, b"[]"), Reply(200, b"{}"), Reply(200, b'{"access_token": 1}')],
    ids=lambda reply: repr(reply.body[:10]),
)
def test_an_answer_without_a_token_is_asked_for_again(
    cloud: Cloud, transport: Transport, ticker: PassingTicker, reply: Reply
) -> None:
    tokens = Tokens(tenant_of(cloud), transport)
    cloud.answer("logon", reply)
    with pytest.raises(IntuneUnavailable):
        tokens.bearer(SCOPE, soon(ticker))
    ticker.seconds += 60
    assert tokens.bearer(SCOPE, soon(ticker))


def test_proxies_of_the_environment_do_not_count(
    cloud: Cloud, tls: ServerTls, ticker: PassingTicker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Transport(ca_file=tls.ca, ticker=ticker) as transport:
        assert Tokens(tenant_of(cloud), transport).bearer(SCOPE, soon(ticker))


def test_everything_goes_through_the_proxy_where_there_is_one(cloud: Cloud, tls: ServerTls, ticker: PassingTicker) -> None:
    with running_proxy("user", "word") as proxy:
        named_proxy = Proxy(proxy.url, "user", "word")
        with Transport(ca_file=tls.ca, proxy=named_proxy, ticker=ticker) as transport:
            assert Tokens(tenant_of(cloud), transport).bearer(SCOPE, soon(ticker))
        assert proxy.tunnels == [cloud.url.removeprefix("https://")]
        with (
            Transport(ca_file=tls.ca, proxy=Proxy(proxy.url, "user", "wrong"), ticker=ticker) as transport,
            pytest.raises(IntuneUnavailable, match="cannot be reached"),
        ):
            Tokens(tenant_of(cloud), transport).bearer(SCOPE, soon(ticker))
    assert "word" not in repr(named_proxy)
