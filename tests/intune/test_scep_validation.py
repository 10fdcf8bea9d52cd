"""The three ScepActions against a server that refuses anything outside the documented shapes."""

import json
import logging
from datetime import UTC, datetime
from functools import partial

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from foundation.errors import NotAuthorised, SignetryError, Unavailable
from intune.errors import AccessRefused, IntuneUnavailable, RequestRejected, ServiceNotOffered, Throttled
from intune.scep_validation import CODES, Failure, IssuedCertificate, ScepRequest, ScepValidation
from intune.transport import Transport
from scep.client import build_csr
from signetry import logging as house_logging
from tests.intune.server import CLIENT_SECRET, Cloud, Reply, code
from tests.intune.tenants import PassingTicker, tenant_of

CHALLENGE = "a challenge that Intune has made"
ISSUED = IssuedCertificate(
    der=b"a certificate",
    serial="0123456789abcdef0123456789abcdef",
    not_after=datetime(2027, 6, 1, 12, 0, 0, 123456, tzinfo=UTC),
    issuer="CN=Issuing CA,O=Example",
    authority="issuing",
)


@pytest.fixture
def csr(rsa_key: rsa.RSAPrivateKey) -> x509.CertificateSigningRequest:
    return build_csr(rsa_key, "alice@example.com", CHALLENGE)


@pytest.fixture
def request_(csr: x509.CertificateSigningRequest) -> ScepRequest:
    return ScepRequest("ABCDEF0123", csr.public_bytes(Encoding.DER))


def test_a_request_that_intune_vouches_for_passes(
    cloud: Cloud, validation: ScepValidation, request_: ScepRequest, csr: x509.CertificateSigningRequest
) -> None:
    validation.validate(request_)
    (received,) = cloud.received
    assert received.action == "validateRequest"
    assert received.content["transactionId"] == "ABCDEF0123"
    assert received.csr == csr


def test_success_is_told_with_everything_that_intune_shows_its_administrator(
    cloud: Cloud, validation: ScepValidation, request_: ScepRequest
) -> None:
    validation.validate(request_)
    validation.notify_success(request_, ISSUED)
    digest = hashes.Hash(hashes.SHA1())  # noqa: S303 - a thumbprint is what it is
    digest.update(ISSUED.der)
    (told,) = cloud.of("successNotification")
    assert told["certificateThumbprint"] == digest.finalize().hex().upper()
    assert told["certificateSerialNumber"] == ISSUED.serial
    assert told["certificateExpirationDateUtc"] == "2027-06-01T12:00:00.123Z"
    assert told["issuingCertificateAuthority"] == told["certificateAuthority"] == "CN=Issuing CA,O=Example"
    assert told["caConfiguration"] == "issuing"


def test_a_whole_second_is_written_with_its_milliseconds(cloud: Cloud, validation: ScepValidation, request_: ScepRequest) -> None:
    validation.validate(request_)
    whole = IssuedCertificate(b"c", ISSUED.serial, datetime(2027, 6, 1, tzinfo=UTC), "CN=x", "issuing")
    validation.notify_success(request_, whole)
    assert cloud.of("successNotification")[0]["certificateExpirationDateUtc"] == "2027-06-01T00:00:00.000Z"


def test_failure_is_told_with_a_description_that_is_cut_to_what_counts(
    cloud: Cloud, validation: ScepValidation, request_: ScepRequest
) -> None:
    validation.notify_failure(request_, Failure(-0x5FFBFFFF, "x" * 300))
    (told,) = cloud.of("failureNotification")
    assert told["hResult"] == -0x5FFBFFFF
    assert told["errorDescription"] == "x" * 255


@pytest.mark.parametrize("name", sorted(CODES))
def test_every_documented_code_but_success_is_a_verdict(
    cloud: Cloud, validation: ScepValidation, request_: ScepRequest, name: str
) -> None:
    cloud.answer("validateRequest", code(name))
    with pytest.raises(RequestRejected) as refused:
        validation.validate(request_)
    assert refused.value.code == name
    assert name in str(refused.value)
    assert isinstance(refused.value, NotAuthorised)


@pytest.mark.parametrize("name", ["Unknown", "SomethingNew", "success", ""])
def test_a_code_that_nobody_documented_is_no_success_and_is_not_passed_on(
    cloud: Cloud, validation: ScepValidation, request_: ScepRequest, name: str
) -> None:
    cloud.answer("validateRequest", code(name))
    with pytest.raises(RequestRejected) as refused:
        validation.validate(request_)
    assert refused.value.code == "Unknown"


@pytest.mark.parametrize("action", ["validateRequest", "successNotification", "failureNotification"])
@pytest.mark.parametrize(
    "reply",
    [
        Reply(500),
        Reply(502, b"<html>bad gateway</html>"),
        Reply(503),
        Reply(400, b'{"code": "Success"}'),
        Reply(404),
        Reply(302, headers={"location": "https://192.0.2.1/"}),
        Reply(200, b"{"),
        Reply(200, b'"Success"'),
        Reply(200, b"[]"),
        Reply(200, b"{}"),
        Reply(200, b'{"code": 0}'),
        Reply(200, b"[" * 100_000),
    ],
    ids=lambda reply: f"{reply.status} {reply.body[:12]!r}",
)
def test_whatever_is_no_verdict_may_be_another_one_later(
    cloud: Cloud, validation: ScepValidation, request_: ScepRequest, action: str, reply: Reply
) -> None:
    act = {
        "validateRequest": partial(validation.validate, request_),
        "successNotification": partial(validation.notify_success, request_, ISSUED),
        "failureNotification": partial(validation.notify_failure, request_, Failure(-1, "no")),
    }[action]
    validation.validate(request_)
    cloud.answer(action, reply)
    with pytest.raises(Unavailable):
        act()
    act()


def test_a_failed_call_makes_us_look_again_where_the_service_is(
    cloud: Cloud, validation: ScepValidation, request_: ScepRequest
) -> None:
    validation.validate(request_)
    validation.validate(request_)
    assert cloud.discoveries == 1
    cloud.answer("validateRequest", Reply(500))
    with pytest.raises(IntuneUnavailable):
        validation.validate(request_)
    validation.validate(request_)
    assert cloud.discoveries == 2


def test_a_rejection_does_not(cloud: Cloud, validation: ScepValidation, request_: ScepRequest) -> None:
    cloud.answer("validateRequest", code("ChallengeExpired"))
    with pytest.raises(RequestRejected):
        validation.validate(request_)
    validation.validate(request_)
    assert cloud.discoveries == 1


def test_the_place_of_the_service_is_asked_for_again_after_a_day(
    cloud: Cloud, validation: ScepValidation, request_: ScepRequest, ticker: PassingTicker
) -> None:
    validation.validate(request_)
    ticker.seconds += 24 * 3600 - 60
    validation.validate(request_)
    assert cloud.discoveries == 1
    ticker.seconds += 120
    validation.validate(request_)
    assert cloud.discoveries == 2


def test_a_tenant_without_intune_is_said_to_have_none(cloud: Cloud, validation: ScepValidation, request_: ScepRequest) -> None:
    services, cloud.endpoints = cloud.endpoints, cloud.endpoints[:1]
    with pytest.raises(ServiceNotOffered, match="ScepRequestValidationFEService"):
        validation.validate(request_)
    cloud.endpoints = services
    validation.validate(request_)


def test_a_service_that_is_not_https_is_none(cloud: Cloud, validation: ScepValidation, request_: ScepRequest) -> None:
    cloud.endpoints[1]["uri"] = cloud.url.replace("https:", "http:") + "/Scep"
    with pytest.raises(ServiceNotOffered):
        validation.validate(request_)
    assert cloud.received == []


def test_the_list_of_services_may_have_several_pages(cloud: Cloud, validation: ScepValidation, request_: ScepRequest) -> None:
    url = f"{cloud.url}/v1.0/servicePrincipals/appId=0000000a-0000-0000-c000-000000000000/endpoints"
    first = json.dumps({"value": cloud.endpoints[:1], "@odata.nextLink": url}).encode()
    cloud.answer("discovery", Reply(body=first))
    validation.validate(request_)


def test_no_token_of_graph_follows_a_link_elsewhere(cloud: Cloud, validation: ScepValidation, request_: ScepRequest) -> None:
    first = json.dumps({"value": cloud.endpoints, "@odata.nextLink": "https://192.0.2.1/more"}).encode()
    cloud.answer("discovery", Reply(body=first))
    validation.validate(request_)


def test_a_pause_that_is_asked_for_is_waited_out(
    cloud: Cloud, validation: ScepValidation, request_: ScepRequest, ticker: PassingTicker
) -> None:
    cloud.answer("validateRequest", Reply(429, headers={"retry-after": "3"}), Reply(503, headers={"retry-after": "2"}))
    validation.validate(request_)
    assert ticker.waits == [3.0, 2.0]
    assert len(cloud.of("validateRequest")) == 1
    assert cloud.discoveries == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "90"}, 90),
        ({"x-ms-retry-after-ms": "45500"}, 45.5),
        ({}, 60),
        ({"retry-after": "soon"}, 60),
        ({"date": "Mon, 01 Jun 2026 12:00:00 GMT", "retry-after": "Mon, 01 Jun 2026 12:02:00 GMT"}, 120),
        # A slip of the pen is not to cut an installation off for a day.
        ({"retry-after": "999999999999"}, 600),
    ],
    ids=str,
)
def test_a_longer_pause_is_not_waited_for_and_kept_all_the_same(
    cloud: Cloud,
    validation: ScepValidation,
    request_: ScepRequest,
    ticker: PassingTicker,
    headers: dict[str, str],
    seconds: float,
) -> None:
    cloud.answer("validateRequest", Reply(429, headers=headers))
    with pytest.raises(Throttled) as throttled:
        validation.validate(request_)
    assert throttled.value.seconds == pytest.approx(seconds)
    # Nobody knocks while it lasts.
    with pytest.raises(Throttled):
        validation.validate(request_)
    assert ticker.waits == []
    assert cloud.received == []
    ticker.seconds += seconds
    validation.validate(request_)


def test_the_log_on_service_may_ask_for_a_pause_too(
    cloud: Cloud, validation: ScepValidation, request_: ScepRequest, ticker: PassingTicker
) -> None:
    cloud.answer("logon", Reply(429, b"{}", {"retry-after": "4"}))
    cloud.answer("configuration", Reply(429, b"{}", {"retry-after": "1"}))
    validation.validate(request_)
    assert ticker.waits == [1.0, 4.0]


def test_a_token_that_is_not_accepted_is_replaced_once(cloud: Cloud, validation: ScepValidation, request_: ScepRequest) -> None:
    validation.validate(request_)
    cloud.revoke_tokens()
    validation.validate(request_)
    assert len(cloud.of("validateRequest")) == 2
    cloud.answer("validateRequest", Reply(401), Reply(401), Reply(401))
    with pytest.raises(AccessRefused, match="HTTP 401"):
        validation.validate(request_)


def test_a_missing_permission_is_said_to_be_one(cloud: Cloud, validation: ScepValidation, request_: ScepRequest) -> None:
    cloud.answer("validateRequest", Reply(403))
    with pytest.raises(AccessRefused, match="HTTP 403"):
        validation.validate(request_)


def test_a_server_that_is_not_trusted_gets_no_secret(cloud: Cloud, request_: ScepRequest) -> None:
    with Transport() as transport, pytest.raises(IntuneUnavailable, match="not trusted"):
        ScepValidation.of(tenant_of(cloud), transport).validate(request_)
    assert cloud.logons == []


def test_a_server_that_does_not_listen_is_left_alone_for_a_moment(
    cloud: Cloud, transport: Transport, ticker: PassingTicker, request_: ScepRequest
) -> None:
    validation = ScepValidation.of(tenant_of(cloud, login_url="https://127.0.0.1:9"), transport)
    with pytest.raises(IntuneUnavailable, match="cannot be reached"):
        validation.validate(request_)
    with pytest.raises(IntuneUnavailable, match="a moment ago"):
        validation.validate(request_)
    ticker.seconds += 3
    with pytest.raises(IntuneUnavailable, match="cannot be reached"):
        validation.validate(request_)


def test_a_server_that_hangs_is_waited_for_no_longer_than_said(cloud: Cloud, tls: object, request_: ScepRequest) -> None:
    with Transport(ca_file=tls.ca) as transport:  # type: ignore[attr-defined] # the fixture's
        validation = ScepValidation.of(tenant_of(cloud, timeout_seconds=1.0), transport)
        validation.validate(request_)
        with cloud.holding("validateRequest"), pytest.raises(IntuneUnavailable, match="does not answer"):
            validation.validate(request_)


def test_an_answer_without_end_is_not_read_to_its_end(cloud: Cloud, validation: ScepValidation, request_: ScepRequest) -> None:
    cloud.answer("validateRequest", Reply(body=b" " * (5 * 1024 * 1024)))
    with pytest.raises(IntuneUnavailable, match="more than"):
        validation.validate(request_)


def test_a_probe_comes_as_far_as_a_verdict(cloud: Cloud, validation: ScepValidation) -> None:
    assert validation.locate() == f"{cloud.url}/Scep"
    assert validation.probe() == "ChallengeDecryptionError"
    assert cloud.logons == [f"{cloud.url}/.default", "https://api.manage.microsoft.com//.default"]
    cloud.answer("validateRequest", Reply(403))
    with pytest.raises(AccessRefused):
        validation.probe()
    cloud.answer("validateRequest", code("Success"))
    with pytest.raises(IntuneUnavailable, match="no device"):
        validation.probe()


def test_no_secret_reaches_a_log_or_an_error(
    cloud: Cloud,
    validation: ScepValidation,
    request_: ScepRequest,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        house_logging.configure("debug", "json")
        root.addHandler(caplog.handler)
        tokens: list[str] = []
        said: list[str] = []
        for replies in ([Reply(500)], [Reply(401), Reply(401)], [Reply(200, b"x")], [code("ChallengeExpired")], []):
            cloud.answer("validateRequest", *replies)
            try:
                validation.validate(request_)
            except SignetryError as error:
                said.append(str(error))
            tokens += list(cloud._tokens)  # noqa: SLF001 - what must not be found
        written = capsys.readouterr().err + caplog.text + "".join(said)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
    assert len(said) == 4
    assert "client_request_id" in written
    secrets = [CLIENT_SECRET, CHALLENGE, *tokens, cloud.of("validateRequest")[0]["certificateRequest"]]
    assert [secret for secret in secrets if secret in written] == []
    assert CLIENT_SECRET not in repr(tenant_of(cloud))
    assert "challenge" not in repr(request_)
