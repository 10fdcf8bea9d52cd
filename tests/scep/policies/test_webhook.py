"""``webhook``: what is asked and believed, and what an answer cannot obtain."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from ca.authorisation import CaName, ProfileName
from ca.certified import names_in
from foundation.clock import SystemClock
from foundation.errors import Unavailable
from people.persons import deactivate_person
from scep import message
from scep.algorithms import Cipher, Digest, Suite
from scep.client import Identity, build_csr
from scep.endpoint import ChallengeKind, Endpoint
from scep.enrolment import Enroller
from scep.errors import EnrolmentRefused, FailInfo
from scep.message import MessageType, PkiStatus
from scep.policies.approval import Approval
from scep.policies.webhook import Webhook, WebhookRules
from scep.policies.webhook_client import MAX_ANSWER_BYTES, WebhookAddress, WebhookClient
from scep.policies.webhook_messages import read_key
from scep.signing import Signer
from tests.daemons.directories.tls import ServerTls, TestAuthority
from tests.scep.policies.requests import request
from tests.scep.policies.webhooks import KEY, SECRET, Reply, Service, resigned, running, serving
from tests.scep.waiting import is_pending, visitor
from tests.scep.world import ACTOR, World

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "webhook.md"
MDM = Endpoint(
    "mdm",
    CaName("issuing"),
    frozenset({ProfileName("identity"), ProfileName("device")}),
    renew_after=0.5,
    challenge=ChallengeKind.WEBHOOK,
)
RULES = WebhookRules(domains=("example.com",), dns_suffixes=("net.example.com",), uri_prefixes=("urn:uuid:",))
UUID = "urn:uuid:7a3c1d1e-0000-4000-8000-000000000000"


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    return TestAuthority(tmp_path_factory.mktemp("webhook-tls")).issue("webhook", "127.0.0.1")


@pytest.fixture
def service(tls: ServerTls) -> Iterator[Service]:
    with running(tls) as webhook:
        yield webhook
    assert webhook.violations == []


@pytest.fixture
def mdm(world: World, service: Service, tls: ServerTls) -> Iterator[World]:
    """An endpoint whose requests the webhook decides about."""
    world.endpoints["mdm"] = MDM
    with connected(world, WebhookAddress(service.url, tls.ca, timeout_seconds=5)):
        yield world


class connected:  # noqa: N801 - used as a function
    """Has the webhook at an address decide, for the time of a block."""

    def __init__(self, world: World, address: WebhookAddress, keys: tuple[bytes, ...] = (KEY,)) -> None:
        self._world, self._before = world, world.enroller
        self._policy = Webhook(WebhookClient(address, lambda: keys, SystemClock()), RULES)

    def __enter__(self) -> None:
        self._world.enroller = Enroller(self._world.transactions, self._world.clock, policies={"mdm": self._policy})

    def __exit__(self, *_: object) -> None:
        self._world.enroller = self._before
        self._policy.close()


def enrol(world: World, key: rsa.RSAPrivateKey, csr: x509.CertificateSigningRequest | None = None) -> Identity:
    return world.enrol(key, "", csr=csr or build_csr(key, "a phone", "a challenge of theirs"), endpoint="mdm")


def refusal(world: World, key: rsa.RSAPrivateKey) -> str:
    with pytest.raises(EnrolmentRefused) as caught:
        enrol(world, key)
    assert caught.value.fail_info == FailInfo.BAD_REQUEST
    assert world.counts()["enrolments"] == 0
    return str(caught.value)


# --- what is asked ---


def test_the_facts_of_the_request_are_sent(mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey) -> None:
    mdm.add_person()
    service.allow(person="alice@example.com")
    csr = request(rsa_key, "a challenge of theirs", name="alice", others=(x509.RFC822Name("alice@example.com"),))
    enrol(mdm, rsa_key, csr)
    (asked,) = service.asked
    assert (asked["endpoint"], asked["profiles"], asked["address"]) == ("mdm", ["device", "identity"], "192.0.2.1")
    assert asked["challenge"] == "a challenge of theirs"
    assert asked["csr"]["subject"] == [["2.5.4.3", "alice"]]
    assert (asked["csr"]["requested"]["common_name"], asked["csr"]["requested"]["emails"]) == ("alice", ["alice@example.com"])
    assert {name: asked["csr"]["key"][name] for name in ("algorithm", "bits", "curve")} == {
        "algorithm": "rsa",
        "bits": 2048,
        "curve": None,
    }
    assert (asked["signer"]["has_requested_key"], asked["signer"]["issued_here"]) == (True, None)
    assert asked["message_type"] == "PKCSReq"


def test_an_identical_retry_is_answered_without_asking_again(mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey) -> None:
    mdm.add_person()
    service.allow(person="alice@example.com")
    csr = build_csr(rsa_key, "a phone", "x")
    assert enrol(mdm, rsa_key, csr).certificate == enrol(mdm, rsa_key, csr).certificate
    assert len(service.asked) == 1


def send(world: World, held: Identity, key: rsa.RSAPrivateKey, challenge: str) -> bytes:
    """Send a PKCSReq for ``key`` with a challenge, signed with ``held``, as certmonger renews; return the reply."""
    der = message.build_request(
        Signer.of(held.certificate, held.private_key),
        world.ra.certificate,
        build_csr(key, "a phone", challenge).public_bytes(Encoding.DER),
        message_type=MessageType.PKCS_REQ,
        transaction_id="renewing",
        sender_nonce=message.new_nonce(),
        suite=Suite(digest=Digest.SHA256, cipher=Cipher.AES256),
    )
    return world.responder.pki_operation("mdm", der, origin="192.0.2.9")


def test_a_holder_who_brings_a_challenge_is_shown_to_be_one(
    mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    mdm.add_person()
    service.allow(person="alice@example.com")
    held = enrol(mdm, rsa_key)
    assert message.parse(send(mdm, held, other_rsa_key, "the one from before")).pki_status == PkiStatus.SUCCESS
    signer = service.asked[-1]["signer"]
    assert signer["has_requested_key"] is False
    assert signer["issued_here"] == {
        "serial": f"{held.certificate.serial_number:032x}",
        "profile": "identity",
        "not_after": held.certificate.not_valid_after_utc.isoformat(),
        "revoked": False,
    }


def test_a_holder_whose_challenge_is_denied_renews_nothing(
    mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    mdm.add_person()
    service.allow(person="alice@example.com")
    held = enrol(mdm, rsa_key)
    mdm.clock.advance(timedelta(days=200))
    service.answer = {"decision": "deny", "reason": "spent"}
    refused = message.parse(send(mdm, held, other_rsa_key, "the one from before"))
    assert (refused.pki_status, refused.fail_info_text) == (PkiStatus.FAILURE, "spent")
    assert mdm.counts() == {"certificates": 1, "enrolments": 1, "refusals": 1}


def test_a_renewal_by_certificate_alone_is_no_question_for_the_webhook(
    mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    mdm.add_person()
    service.allow(person="alice@example.com")
    held = enrol(mdm, rsa_key)
    mdm.clock.advance(timedelta(days=200))
    assert mdm.renew(held, other_rsa_key, "mdm").certificate.subject == held.certificate.subject
    assert len(service.asked) == 1


# --- what an answer obtains ---


def test_a_person_on_record_gets_the_names_on_record(mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey) -> None:
    alice = mdm.add_person(aliases=("a.smith@example.com",), sid="S-1-5-21-1-2-3-1104")
    service.allow(person="a.smith@example.com")
    names = names_in(enrol(mdm, rsa_key).certificate)
    assert (names.upn, names.emails, names.sid) == ("alice@example.com", ("alice@example.com",), "S-1-5-21-1-2-3-1104")
    assert alice.active


def test_names_narrow_what_is_on_record(mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey) -> None:
    mdm.add_person(aliases=("a.smith@example.com",), sid="S-1-5-21-1-2-3-1104")
    service.allow(person="alice@example.com", names={"upn": "Alice@Example.com", "emails": ["a.smith@example.com"]})
    certificate = enrol(mdm, rsa_key).certificate
    assert certificate.subject.rfc4514_string() == "CN=Alice Smith"
    names = names_in(certificate)
    assert (names.upn, names.emails, names.sid) == ("alice@example.com", ("a.smith@example.com",), "")


def test_people_who_are_not_on_record_get_names_within_the_rules(
    mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey
) -> None:
    service.allow(names={"display_name": "Zoë", "upn": "zoe@example.com", "emails": ["ZOE@Example.com"]})
    certificate = enrol(mdm, rsa_key).certificate
    assert certificate.subject.rfc4514_string() == "CN=Zoë"
    assert (names_in(certificate).upn, names_in(certificate).emails) == ("zoe@example.com", ("zoe@example.com",))


def test_a_device_gets_names_on_record_and_within_the_rules(mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey) -> None:
    mdm.add_device(name="gate", dns_name="gate.example.org")
    service.allow(
        profile="device",
        device="gate",
        names={"device_name": "else", "dns_names": ["gate.example.org", "g.net.example.com"], "uris": [UUID]},
    )
    certificate = enrol(mdm, rsa_key).certificate
    assert certificate.subject.rfc4514_string() == "CN=gate"
    assert names_in(certificate).dns_names == ("gate.example.org", "g.net.example.com")
    assert names_in(certificate).uris == (UUID,)


NOT_TO_BE_HAD: list[tuple[dict[str, object], str]] = [
    ({"profile": "smime-dual", "person": "alice@example.com"}, "not one of this endpoint's"),
    ({"person": "nobody@example.com"}, "not on record"),
    ({"person": "1"}, "not on record"),
    ({"device": "fax"}, "not on record"),
    ({"device": "1"}, "not on record"),
    ({"person": "alice@example.com", "device": "bobs"}, "somebody else's"),
    ({"person": "alice@example.com", "names": {"upn": "bob@example.com"}}, "UPN"),
    ({"person": "alice@example.com", "names": {"upn": "alice@example.com", "emails": ["bob@example.com"]}}, "address"),
    ({"person": "alice@example.com", "names": {"upn": "alice@example.com", "emails": ["x@example.com"]}}, "address"),
    ({"person": "alice@example.com", "names": {"upn": "alice@example.com", "sid": "S-1-5-21-1-2-3-500"}}, "SID"),
    ({"names": {"upn": "alice@example.com"}}, "is a person's on record"),
    ({"names": {"upn": "zoe@example.com", "emails": ["ALICE@example.com"]}}, "is a person's on record"),
    ({"names": {"upn": "zoe@other.example"}}, "address"),
    ({"names": {"upn": "zoe@sub.example.com"}}, "address"),
    ({"names": {"upn": "zoe@example.com", "sid": "S-1-5-21-1-2-3-500"}}, "SID"),
    ({"names": {"upn": "zoe@example.com", "display_name": "alice@example.com"}}, "at sign"),
    ({"profile": "device", "names": {"device_name": "bobs"}}, "is a device's on record"),
    ({"profile": "device", "names": {"device_name": "x", "dns_names": ["bobs.net.example.com"]}}, "is a device's on record"),
    ({"profile": "device", "names": {"device_name": "x", "dns_names": ["dc1.example.com"]}}, "not below"),
    ({"profile": "device", "names": {"device_name": "x", "uris": ["https://evil.test/"]}}, "URI"),
    (
        {"profile": "device", "names": {"device_name": "x", "uris": ["tag:microsoft.com,2022-09-14:sid:S-1-5-21-1-2-3-500"]}},
        "URI",
    ),
    ({"profile": "device", "names": {"device_name": "x\0y"}}, "control character"),
]


@pytest.mark.parametrize(("answer", "words"), NOT_TO_BE_HAD)
def test_an_answer_obtains_nothing_beyond_the_records_and_the_rules(
    mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey, answer: dict[str, object], words: str
) -> None:
    mdm.add_person()
    mdm.add_person(upn="bob@example.com", email="bob@example.com")
    mdm.add_device(name="bobs", owner="bob@example.com", dns_name="bobs.net.example.com")
    service.allow(**answer)
    assert words in refusal(mdm, rsa_key)


def test_a_uri_that_names_a_sid_is_refused_even_where_its_beginning_is_allowed(
    world: World, service: Service, tls: ServerTls, rsa_key: rsa.RSAPrivateKey
) -> None:
    world.endpoints["mdm"] = MDM
    client = WebhookClient(WebhookAddress(service.url, tls.ca), lambda: (KEY,), SystemClock())
    policy = Webhook(client, replace(RULES, uri_prefixes=("tag:",)))
    world.enroller = Enroller(world.transactions, world.clock, policies={"mdm": policy})
    uri = "TAG:microsoft.com,2022-09-14:sid:S-1-5-21-1-2-3-500"
    for uris in (uri, uri.replace("TAG", "tag")):
        service.allow(profile="device", names={"device_name": "x", "uris": [uris]})
        assert "URI" in refusal(world, rsa_key)
    policy.close()


def test_nobody_inactive_is_certified(mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey) -> None:
    alice = mdm.add_person()
    mdm.transactions.write(lambda session: deactivate_person(session, alice.id, actor=ACTOR, now=mdm.clock.now()))
    service.allow(person="alice@example.com")
    assert "the person is not active" in refusal(mdm, rsa_key)


def test_what_the_request_asks_for_beyond_the_answer_is_refused(mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey) -> None:
    mdm.add_person()
    service.allow(person="alice@example.com")
    csr = request(rsa_key, "x", others=(x509.RFC822Name("ceo@example.com"),))
    with pytest.raises(EnrolmentRefused, match=r"mail address ceo@example\.com"):
        enrol(mdm, rsa_key, csr)


def test_a_denial_is_told_in_the_webhooks_words(mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey) -> None:
    service.answer = {"decision": "deny", "reason": "device\nnot compliant"}
    assert refusal(mdm, rsa_key) == "the server refused: device?not compliant"
    service.answer = {"decision": "deny"}
    assert "the request was denied" in refusal(mdm, rsa_key)


def test_a_certificate_with_nobody_on_record_behind_it_is_not_renewed_without_the_webhook(
    mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    service.allow(names={"upn": "zoe@example.com"})
    held = enrol(mdm, rsa_key)
    mdm.clock.advance(timedelta(days=200))
    with pytest.raises(EnrolmentRefused, match="enrol anew"):
        mdm.renew(held, other_rsa_key, "mdm")


# --- what is not believed ---


def unanswered(world: World, key: rsa.RSAPrivateKey) -> str:
    """Enrol in vain; return what the log says."""
    with structlog.testing.capture_logs() as logs, pytest.raises(Unavailable, match="cannot be asked now"):
        enrol(world, key)
    assert world.counts() == {"certificates": 0, "enrolments": 0, "refusals": 0}
    return str(next(entry["reason"] for entry in logs if entry["event"] == "webhook does not decide"))


ALLOWED = {"decision": "allow", "profile": "identity", "person": "alice@example.com"}
MISSHAPEN: dict[str, tuple[object, str]] = {
    "nothing": ({}, "decision: Field required"),
    "no object": ([ALLOWED], "the answer: "),
    "another decision": ({**ALLOWED, "decision": "maybe"}, "decision: "),
    "an unknown field": ({**ALLOWED, "key_usage": "keyCertSign"}, "key_usage: Extra inputs"),
    "an unknown name": ({**ALLOWED, "names": {"ip": "192.0.2.1"}}, "names.ip: Extra inputs"),
    "no profile": ({"decision": "allow", "person": "alice@example.com"}, "says profile"),
    "nobody": ({"decision": "allow", "profile": "identity"}, "a person, a device or names"),
    "names and a denial": ({**ALLOWED, "decision": "deny"}, "nothing but a reason"),
    "a number for a name": ({**ALLOWED, "person": 7}, "person: "),
    "one address for a list": ({**ALLOWED, "names": {"emails": "alice@example.com"}}, "names.emails: "),
    "too many names": ({**ALLOWED, "names": {"emails": ["a@example.com"] * 101}}, "names.emails: "),
    "a long reason": ({"decision": "deny", "reason": "x" * 201}, "reason: "),
}


@pytest.mark.parametrize(("answer", "words"), MISSHAPEN.values(), ids=MISSHAPEN)
def test_an_answer_of_another_shape_decides_nothing(
    mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey, answer: object, words: str
) -> None:
    mdm.add_person()
    service.answer = answer
    assert words in unanswered(mdm, rsa_key)


def without(name: str) -> Callable[[Reply], Reply]:
    return lambda reply: replace(reply, headers={key: value for key, value in reply.headers.items() if key != name})


def with_header(name: str, value: str) -> Callable[[Reply], Reply]:
    return lambda reply: replace(reply, headers={**reply.headers, name: value})


UNBELIEVABLE: dict[str, tuple[Callable[[Reply], Reply], str]] = {
    "no signature": (without("webhook-signature"), "not signed"),
    "another secret": (lambda reply: resigned(reply, reply.body, b"another secret of ours!"), "not signed"),
    "a changed body": (lambda reply: replace(reply, body=reply.body.replace(b"alice", b"Alice")), "not signed"),
    "no id": (without("webhook-id"), "webhook-id"),
    "another id": (with_header("webhook-id", "msg_other"), "webhook-id"),
    "no time": (without("webhook-timestamp"), "webhook-timestamp"),
    "another time": (with_header("webhook-timestamp", "1000000000"), "too far from our time"),
    "a time that is none": (with_header("webhook-timestamp", "soon"), "webhook-timestamp"),
    "a redirect": (lambda reply: replace(reply, status=307, headers={"location": "/elsewhere"}), "HTTP 307"),
    "another success": (lambda reply: replace(reply, status=201), "HTTP 201"),
    "an error": (lambda reply: replace(reply, status=500), "HTTP 500"),
    "too much": (lambda reply: replace(reply, body=b" " * (MAX_ANSWER_BYTES + 1)), "more than 65536 bytes"),
    "no JSON": (lambda reply: resigned(reply, b"<html>"), "Invalid JSON"),
}


@pytest.mark.parametrize(("change", "words"), UNBELIEVABLE.values(), ids=UNBELIEVABLE)
def test_an_answer_that_is_not_theirs_decides_nothing(
    mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey, change: Callable[[Reply], Reply], words: str
) -> None:
    mdm.add_person()
    service.answer, service.change = ALLOWED, change
    assert words in unanswered(mdm, rsa_key)
    assert len(service.asked) == 1


def test_no_answer_in_time_decides_nothing_and_is_not_asked_for_twice(
    world: World, service: Service, tls: ServerTls, rsa_key: rsa.RSAPrivateKey
) -> None:
    world.endpoints["mdm"] = MDM
    world.add_person()
    service.answer, service.change = ALLOWED, lambda reply: replace(reply, after_seconds=1.5)
    with connected(world, WebhookAddress(service.url, tls.ca, timeout_seconds=0.5)):
        assert "ReadTimeout" in unanswered(world, rsa_key)
    assert len(service.asked) == 1


def test_a_server_that_others_vouch_for_is_not_asked(world: World, service: Service, rsa_key: rsa.RSAPrivateKey) -> None:
    world.endpoints["mdm"] = MDM
    with connected(world, WebhookAddress(service.url)):
        assert "its certificate is not trusted" in unanswered(world, rsa_key)
    assert service.asked == []


def test_a_server_that_is_not_there_is_unavailable(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    world.endpoints["mdm"] = MDM
    with connected(world, WebhookAddress("http://127.0.0.1:9/decide", timeout_seconds=1)):
        assert "ConnectError" in unanswered(world, rsa_key)


def test_while_a_secret_is_replaced_either_is_good(
    world: World, service: Service, tls: ServerTls, rsa_key: rsa.RSAPrivateKey
) -> None:
    world.endpoints["mdm"] = MDM
    world.add_person()
    service.allow(person="alice@example.com")
    with connected(world, WebhookAddress(service.url, tls.ca), keys=(b"the secret of tomorrow", KEY)):
        enrol(world, rsa_key)
    assert len(service.asked) == 1


def test_a_secret_is_base64_behind_its_prefix_or_the_text_itself() -> None:
    assert read_key(SECRET) == KEY
    assert read_key("sixteen bytes ok") == b"sixteen bytes ok"
    for poor in ("too short", "whsec_c2hvcnQ=", "whsec_!!!!"):
        with pytest.raises(ValueError, match=r"secret|base64"):
            read_key(poor)


def test_an_elliptic_key_is_described(mdm: World, service: Service, ec_key: ec.EllipticCurvePrivateKey) -> None:
    service.answer = {"decision": "deny"}
    with pytest.raises(EnrolmentRefused), mdm.client("mdm") as ours:
        ours.enrol(ours.ca_certificates(), ec_key, build_csr(ec_key, "x", "a challenge"))
    (asked,) = service.asked
    assert {name: asked["csr"]["key"][name] for name in ("algorithm", "bits", "curve")} == {
        "algorithm": "ec",
        "bits": 256,
        "curve": "secp256r1",
    }


# --- the documentation ---


def test_the_receiver_in_the_documentation_decides(
    world: World, tls: ServerTls, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", DOCUMENTATION.read_text(), re.MULTILINE | re.DOTALL)
    module: dict[str, object] = {"__name__": "receiver"}
    exec(compile(code, "docs/webhook.md", "exec"), module)  # noqa: S102 - what operators are told to run
    receiver = SimpleNamespace(**module)
    (tmp_path / "secret").write_text(SECRET + "\n")
    receiver.Receiver.key = receiver.key_in(tmp_path / "secret")
    receiver.Receiver.log_message = lambda *_: None
    world.endpoints["mdm"] = MDM
    world.add_person()
    with serving(receiver.Receiver, tls) as address, connected(world, WebhookAddress(f"{address}/", tls.ca)):
        assert enrol(world, rsa_key, build_csr(rsa_key, "x", "handed out to Alice"))
        with pytest.raises(EnrolmentRefused, match="this challenge was not handed out"):
            enrol(world, other_rsa_key, build_csr(other_rsa_key, "x", "guessed"))


def test_the_request_in_the_documentation_is_the_one_that_is_sent(
    mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey
) -> None:
    documented = json.loads(re.findall(r"^```json\n(.*?)^```", DOCUMENTATION.read_text(), re.MULTILINE | re.DOTALL)[0])
    service.answer = {"decision": "deny"}
    refusal(mdm, rsa_key)
    (asked,) = service.asked
    for path in ("", "csr", "signer"):
        assert list(asked[path] if path else asked) == list(documented[path] if path else documented)
    assert list(asked["csr"]["requested"]) == list(documented["csr"]["requested"])
    assert list(asked["csr"]["key"]) == list(documented["csr"]["key"])


@pytest.mark.parametrize(
    "names",
    [
        {"dns_names": ["bobs.net.example.com"]},
        {"uris": ["urn:uuid:0b7bdd6d-9c7a-4b8c-8a26-0f4f1f1e9f55"]},
        {"uris": ["urn:uuid:0B7BDD6D-9C7A-4B8C-8A26-0F4F1F1E9F55"]},
    ],
)
@pytest.mark.parametrize("device", ["", "gate"])
def test_a_device_is_not_given_what_is_another_ones_on_record(
    mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey, names: dict[str, object], device: str
) -> None:
    mdm.add_device(name="gate", dns_name="gate.net.example.com")
    mdm.add_device(name="bobs", dns_name="bobs.net.example.com", mdm_id="0b7bdd6d-9c7a-4b8c-8a26-0f4f1f1e9f55")
    service.allow(profile="device", device=device, names={"device_name": "x", **names})
    assert "is a device's on record, which was not named" in refusal(mdm, rsa_key)


def test_a_device_name_in_other_letters_is_the_same_one(mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey) -> None:
    mdm.add_device(name="Bobs")
    service.allow(profile="device", names={"device_name": "bOBS"})
    assert "is a device's on record, which was not named" in refusal(mdm, rsa_key)


def test_what_waits_from_another_policy_is_no_question_for_the_webhook(
    mdm: World, service: Service, rsa_key: rsa.RSAPrivateKey
) -> None:
    """Of a request that waits, the bytes that the webhook would judge are not kept."""
    deciding, mdm.enroller = mdm.enroller, Enroller(mdm.transactions, mdm.clock, policies={"mdm": Approval()})
    client = visitor(mdm, rsa_key, "mdm")
    assert is_pending(client.enrol())
    mdm.enroller = deciding
    mdm.add_person()
    service.allow(person="alice@example.com")
    assert client.poll().fail_info == FailInfo.BAD_CERT_ID
    assert service.asked == []
