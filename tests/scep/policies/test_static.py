"""``static``: what a shared secret obtains, and all that it does not."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from sqlmodel import col, select

from ca.authorisation import CaName, ProfileName
from ca.certified import names_in
from ca.records import Certificate
from foundation import tlv
from scep.challenge import digest
from scep.client import Identity
from scep.endpoint import ChallengeKind, Endpoint
from scep.enrolment import Enroller
from scep.errors import EnrolmentRefused, FailInfo
from scep.message import PkiStatus
from scep.policies.constraints import Pattern
from scep.policies.static import Static, StaticRules
from scep.signing import Signer
from signetry.secret_files import SecretUnavailable
from tests.scep.peers import Peer
from tests.scep.policies.requests import request
from tests.scep.world import World

SECRET = "correct horse battery staple"
UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
RULES = StaticRules(Pattern("router-*"), ("net.example.com",))
ROUTERS = Endpoint(
    "routers", CaName("issuing"), frozenset({ProfileName("device")}), renew_after=0.5, challenge=ChallengeKind.STATIC
)


def configured(world: World, rules: StaticRules = RULES, secrets: Callable[[], tuple[str, ...]] = lambda: (SECRET,)) -> World:
    world.endpoints["routers"] = ROUTERS
    policy = Static(lambda: [digest(secret) for secret in secrets()], rules)
    world.enroller = Enroller(world.transactions, world.clock, policies={"routers": policy})
    return world


def enrol(
    world: World,
    key: rsa.RSAPrivateKey,
    challenge: str = SECRET,
    *,
    name: str = "router-1",
    dns: tuple[str, ...] = ("r1.net.example.com",),
    others: tuple[x509.GeneralName, ...] = (),
) -> Identity:
    return world.enrol(key, "", csr=request(key, challenge, name=name, dns=dns, others=others), endpoint="routers")


def refusal(world: World, key: rsa.RSAPrivateKey, **wanted: object) -> str:
    with pytest.raises(EnrolmentRefused) as caught:
        enrol(world, key, **wanted)  # type: ignore[arg-type] # as enrol takes them
    assert caught.value.fail_info == FailInfo.BAD_REQUEST
    return str(caught.value)


def test_the_secret_obtains_a_device_certificate_with_the_names_of_the_request(
    both_worlds: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    world = configured(both_worlds)
    certificate = enrol(world, rsa_key, dns=("R1.net.example.com",)).certificate
    assert certificate.subject.rfc4514_string() == "CN=router-1"
    assert names_in(certificate).dns_names == ("r1.net.example.com",)
    assert enrol(world, other_rsa_key, name="router-2", dns=()).certificate.subject.rfc4514_string() == "CN=router-2"


def test_an_identical_retry_gets_the_same_certificate(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    configured(world)
    csr = request(rsa_key, SECRET, name="router-1")
    first, second = (world.enrol(rsa_key, "", csr=csr, endpoint="routers").certificate for _ in range(2))
    assert first == second


@pytest.mark.parametrize("secret", ["", "correct horse battery stable", "correct horse battery staple ", SECRET.upper()])
def test_another_secret_obtains_nothing(world: World, rsa_key: rsa.RSAPrivateKey, secret: str) -> None:
    configured(world)
    assert "the challenge password is missing or not valid here" in refusal(world, rsa_key, challenge=secret)
    assert world.counts()["enrolments"] == 0


def test_both_secrets_are_good_while_one_takes_the_others_place(
    world: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey, third_rsa_key: rsa.RSAPrivateKey
) -> None:
    good = ["new secret", "old secret"]
    configured(world, secrets=lambda: tuple(good))
    enrol(world, rsa_key, "new secret")
    enrol(world, other_rsa_key, "old secret")
    good.remove("old secret")
    assert "not valid here" in refusal(world, third_rsa_key, challenge="old secret")


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"name": ""}, "no common name"),
        ({"name": "server-1"}, "does not match"),
        ({"name": "router-alice@example.com"}, "cannot be certified"),
        ({"dns": ("r1.example.com",)}, "r1.example.com is not below a domain"),
        ({"dns": ("r1.net.example.com", "dc1.corp.example.com")}, "dc1.corp.example.com is not below"),
        ({"dns": ("evilnet.example.com",)}, "not below"),
        ({"dns": ("*.net.example.com",)}, "cannot be certified"),
        ({"others": (x509.RFC822Name("alice@example.com"),)}, "mail address"),
        ({"others": (x509.OtherName(UPN, tlv.utf8_string("alice@example.com")),)}, "UPN"),
        ({"others": (x509.UniformResourceIdentifier("urn:uuid:7a3c1d1e-0000-4000-8000-000000000000"),)}, "URI"),
        ({"others": (x509.UniformResourceIdentifier("tag:microsoft.com,2022-09-14:sid:S-1-5-21-1-2-3-500"),)}, "URI"),
    ],
)
def test_nothing_beyond_the_rules_is_granted(
    world: World, rsa_key: rsa.RSAPrivateKey, wanted: dict[str, object], words: str
) -> None:
    configured(world)
    assert words in refusal(world, rsa_key, **wanted)
    assert world.counts()["enrolments"] == 0


@pytest.mark.parametrize("device", [{"name": "router-1"}, {"name": "gate", "dns_name": "r1.net.example.com"}])
def test_nobody_takes_the_name_of_a_device_on_record(world: World, rsa_key: rsa.RSAPrivateKey, device: dict[str, str]) -> None:
    configured(world).add_device(**device)
    assert "a device on record has the requested name" in refusal(world, rsa_key)


def test_nor_does_a_common_name_say_the_dns_name_of_one(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    configured(world).add_device(name="gate", dns_name="router-9.net.example.com")
    assert "a device on record" in refusal(world, rsa_key, name="router-9.NET.example.com", dns=())


def test_other_profiles_are_never_granted(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    configured(world).configure("routers", profiles=frozenset({ProfileName("identity")}))
    assert "does not issue device certificates" in refusal(world, rsa_key)


def test_a_secret_that_cannot_be_read_refuses_nobody_for_good(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    def unreadable() -> tuple[str, ...]:
        raise SecretUnavailable

    configured(world, secrets=unreadable)
    with pytest.raises(SecretUnavailable):
        enrol(world, rsa_key)
    configured(world)
    enrol(world, rsa_key)


def test_a_certificate_is_renewed_under_the_names_that_are_still_allowed(
    world: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    rules = StaticRules(Pattern("router-*"), ("net.example.com", "lab.example.com"))
    held = enrol(configured(world, rules), rsa_key, dns=("r1.net.example.com", "r1.lab.example.com"))
    world.clock.advance(timedelta(days=200))
    configured(world)
    renewed = world.renew(held, other_rsa_key, "routers").certificate
    assert renewed.subject == held.certificate.subject
    assert names_in(renewed).dns_names == ("r1.net.example.com",)


def test_a_name_that_is_no_longer_given_is_not_renewed(
    world: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    held = enrol(configured(world), rsa_key)
    world.clock.advance(timedelta(days=200))
    configured(world, StaticRules(Pattern("switch-*"), ("net.example.com",)))
    with pytest.raises(EnrolmentRefused, match="no longer gives the name"):
        world.renew(held, other_rsa_key, "routers")
    configured(world).add_device(name="router-1")
    with pytest.raises(EnrolmentRefused, match="no longer gives the name"):
        world.renew(held, other_rsa_key, "routers")


def test_renewal_waits_for_its_time(world: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey) -> None:
    held = enrol(configured(world), rsa_key)
    with pytest.raises(EnrolmentRefused, match="may be renewed from"):
        world.renew(held, other_rsa_key, "routers")


def test_a_certificate_from_before_is_renewed_by_its_record(
    world: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    world.endpoints["routers"] = ROUTERS
    gate = world.add_device(name="gate", dns_name="gate.example.com")
    challenge = world.challenge(None, device=gate, profile="device", endpoint="routers")
    held = world.enrol(rsa_key, challenge, endpoint="routers")
    world.clock.advance(timedelta(days=200))
    configured(world)
    assert names_in(world.renew(held, other_rsa_key, "routers").certificate).dns_names == ("gate.example.com",)


def test_once_its_certificate_has_expired_an_identical_request_gets_another(
    both_worlds: World, rsa_key: rsa.RSAPrivateKey
) -> None:
    """A router that keeps its key sends the same bytes every year."""
    world = configured(both_worlds)
    csr = request(rsa_key, SECRET, name="router-1")
    years = []
    for _ in range(3):
        with ThreadPoolExecutor(3) as pool:
            together = list(pool.map(lambda _: world.enrol(rsa_key, "", csr=csr, endpoint="routers").certificate, range(3)))
        assert len(set(together)) == 1
        years.append(together[0])
        world.clock.advance(timedelta(days=366))
    assert len(set(years)) == 3
    assert world.counts()["enrolments"] == 3


def test_once_its_certificate_has_expired_the_old_secret_obtains_nothing(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    configured(world)
    enrol(world, rsa_key)
    world.clock.advance(timedelta(days=366))
    configured(world, secrets=lambda: ("another secret altogether",))
    assert "not valid here" in refusal(world, rsa_key)


def test_devices_that_share_a_secret_do_not_renew_each_others_certificates(
    world: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    held = enrol(configured(world), rsa_key)
    peer = Peer(world, other_rsa_key, Signer.of(held.certificate, rsa_key), "routers")
    other = request(other_rsa_key, SECRET, name="router-2").public_bytes(Encoding.DER)
    assert peer.ask(other).pki_status == PkiStatus.SUCCESS
    with world.transactions.reading() as session:
        (row,) = session.exec(select(Certificate).where(col(Certificate.subject) == "CN=router-2")).all()
        assert row.renews_id is None


def test_nor_does_the_name_of_one_in_other_letters(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    """To whoever compares names of certificates, case makes no difference (RFC 5280 section 7.1)."""
    configured(world).add_device(name="router-A")
    assert "a device on record has the requested name" in refusal(world, rsa_key, name="router-a")
