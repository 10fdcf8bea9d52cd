"""The challenge policies of an installation: each endpoint's own."""

from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.testclient import TestClient

from scep.client import ScepClient, build_csr
from scep.endpoint import ChallengeKind
from scep.errors import EnrolmentRefused, ServerUnreachable
from scep.policies.approval import Approval
from scep.policies.one_time import OneTime
from scep.policies.static import Static
from scep.policies.webhook import Webhook
from signetry import policies
from signetry.app import device_app
from signetry.assembly import web_parts
from signetry.errors import ConfigurationError
from tests.scep.policies.requests import request
from tests.scep.policies.webhooks import SECRET, running
from tests.signetry.api.conftest import opened_api
from tests.signetry.installation import Commands, clock_of_today, opened

STATIC = """
[endpoints.routers]
profiles = ["device"]
challenge = "static"
[endpoints.routers.static]
secret_file = "secrets/routers"
subject_pattern = "router-*"
dns_suffixes = ["net.example.com"]
"""
WEBHOOK = """
[endpoints.mdm]
profiles = ["identity"]
challenge = "webhook"
[endpoints.mdm.webhook]
url = "URL"
secret_file = "secrets/mdm"
"""


def configure(home: Path, text: str, **secrets: str) -> None:
    with (home / "signetry.toml").open("a") as file:
        file.write(text)
    for name, secret in secrets.items():
        path = home / "secrets" / name
        path.touch(mode=0o600)
        path.write_text(secret + "\n")


def client(application: TestClient, endpoint: str) -> ScepClient:
    """Return our SCEP client before the device listener's application."""

    def serve(asked: httpx2.Request) -> httpx2.Response:
        answer = application.request(
            asked.method, str(asked.url.copy_with(scheme="http", host="testserver")), content=asked.content
        )
        return httpx2.Response(answer.status_code, content=answer.content)

    return ScepClient(f"http://testserver/scep/{endpoint}", transport=httpx2.MockTransport(serve))


def test_every_endpoint_has_the_policy_that_is_configured(installed_home: Path) -> None:
    others = "".join(f'[endpoints.{kind}]\nchallenge = "{kind}"\n' for kind in ("ndes", "approval"))
    configure(installed_home, STATIC + WEBHOOK.replace("URL", "https://mdm.example.com/") + others)
    with opened() as house:
        configured = policies.policies(house)
    policies.close(configured)
    kinds = {"default": OneTime, "ndes": OneTime, "approval": Approval, "routers": Static, "mdm": Webhook}
    assert {name: type(policy) for name, policy in configured.items()} == kinds
    assert {kind.value for kind in ChallengeKind} == {"one-time", "static", "webhook", "intune", "ndes", "approval"}


def test_a_file_of_authorities_that_holds_none_is_named(installed_home: Path) -> None:
    configure(installed_home, WEBHOOK.replace("URL", "https://mdm.example.com/") + 'ca_file = "secrets/mdm"\n', mdm=SECRET)
    with opened() as house, pytest.raises(ConfigurationError, match=r"^endpoints\.mdm\.webhook\.ca_file cannot be used"):
        policies.policies(house)


def test_a_static_secret_is_changed_while_the_service_runs(
    installed_home: Path, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    configure(installed_home, STATIC, routers="first secret of them all")

    def enrol(key: rsa.RSAPrivateKey, secret: str) -> str:
        with client(application, "routers") as ours:
            csr = request(key, secret, name="router-1", dns=("r1.net.example.com",))
            return ours.enrol(ours.ca_certificates(), key, csr).certificate.subject.rfc4514_string()

    with opened() as house:
        parts = web_parts(house)
        application = TestClient(device_app(parts))
        assert enrol(rsa_key, "first secret of them all") == "CN=router-1"
        (installed_home / "secrets" / "routers").write_text("second secret of them all\n")
        with pytest.raises(EnrolmentRefused, match="not valid here"):
            enrol(other_rsa_key, "first secret of them all")
        assert enrol(other_rsa_key, "second secret of them all") == "CN=router-1"
        parts.stop()


def test_a_webhook_decides_and_one_that_does_not_answer_is_waited_for(
    installed_home: Path, commands: Commands, rsa_key: rsa.RSAPrivateKey
) -> None:
    commands.json("person", "add", "--upn", "alice@example.com", "--email", "alice@example.com")
    with running(None) as webhook:
        configure(installed_home, WEBHOOK.replace("URL", webhook.url), mdm=SECRET)
        with opened() as house:
            parts = web_parts(house)
            with client(TestClient(device_app(parts)), "mdm") as ours:
                bag = ours.ca_certificates()
                csr = build_csr(rsa_key, "a phone", "handed out")
                with pytest.raises(ServerUnreachable, match="HTTP 503"):
                    ours.enrol(bag, rsa_key, csr)
                webhook.allow(person="alice@example.com")
                assert ours.enrol(bag, rsa_key, csr).certificate
            parts.stop()
    assert webhook.violations == []
    assert len(webhook.asked) == 2


NOT_MINTED = {
    "static": ("routers", STATIC),
    "webhook": ("mdm", WEBHOOK.replace("URL", "https://mdm.example.com/")),
    "approval": ("held", '[endpoints.held]\nchallenge = "approval"\n'),
}


@pytest.mark.parametrize("kind", NOT_MINTED)
def test_no_challenges_are_minted_where_none_are_taken(installed_home: Path, commands: Commands, kind: str) -> None:
    name, text = NOT_MINTED[kind]
    configure(installed_home, text)
    words = f"endpoint {name} takes no minted challenges: its policy is {kind}"
    assert words in commands.refused("challenge", "create", "--endpoint", name, "--upn", "alice@example.com")
    clock = clock_of_today()
    with opened(clock) as house:
        api = opened_api(house, clock)
        refused = api.call("POST", "/challenges", json={"person": "alice@example.com", "endpoint": name})
        assert (refused.status_code, refused.json()["detail"]) == (422, words)
        assert api.call("GET", f"/endpoints/{name}").json()["challenge"] == kind
