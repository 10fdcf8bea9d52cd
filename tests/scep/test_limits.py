"""How often an address may ask, and what it is told when that was too often."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

from scep.client import build_csr
from scep.errors import FailInfo, TooManyRequests
from scep.http import ScepApplication, routes
from scep.limits import AddressLimiter, EndpointLimits, network_of
from scep.message import MessageType, PkiStatus, parse
from scep.observation import Ending, Outcome
from scep.responder import Responder
from tests.scep.peers import said
from tests.scep.waiting import Visitor, visitor
from tests.scep.world import World


class Seconds:
    """A monotonic clock, set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    """A clock that stands still."""
    return Seconds()


@pytest.fixture
def limiter(seconds: Seconds) -> AddressLimiter:
    """A limiter that remembers three addresses."""
    return AddressLimiter(seconds, addresses=3)


def ask(limiter: AddressLimiter, origin: str = "192.0.2.1", *, endpoint: str = "default", per_minute: int = 3) -> int:
    return limiter.admit(endpoint, origin, per_minute=per_minute)


def test_a_minutes_worth_is_admitted_at_once_and_then_one_after_the_other(limiter: AddressLimiter, seconds: Seconds) -> None:
    assert [ask(limiter) for _ in range(4)] == [0, 0, 0, 20]
    seconds.now += 19
    assert ask(limiter) == 1
    seconds.now += 1
    assert ask(limiter) == 0
    assert ask(limiter) == 20
    seconds.now += 3600
    assert [ask(limiter) for _ in range(4)] == [0, 0, 0, 20]


def test_being_told_to_wait_does_not_prolong_the_wait(limiter: AddressLimiter, seconds: Seconds) -> None:
    for _ in range(3):
        ask(limiter)
    for _ in range(10):
        seconds.now += 2
        last = ask(limiter)
    assert last == 0


def test_whoever_does_not_listen_gets_no_signature(limiter: AddressLimiter, seconds: Seconds) -> None:
    for _ in range(3):
        assert ask(limiter) == 0
    for _ in range(12):
        assert ask(limiter) == 20
    with pytest.raises(TooManyRequests, match="come back in 20 seconds") as caught:
        ask(limiter)
    assert caught.value.retry_after == 20
    seconds.now += 5
    assert ask(limiter) == 15


def test_no_limit_remembers_nobody(limiter: AddressLimiter) -> None:
    assert {ask(limiter, per_minute=0) for _ in range(1000)} == {0}
    assert not limiter._buckets  # noqa: SLF001 - what must not grow


def test_addresses_and_endpoints_are_told_apart(limiter: AddressLimiter) -> None:
    assert [ask(limiter, per_minute=1), ask(limiter, per_minute=1)] == [0, 60]
    assert ask(limiter, "192.0.2.2", per_minute=1) == 0
    assert ask(limiter, endpoint="other", per_minute=1) == 0


def test_the_address_not_seen_for_longest_is_forgotten_first(limiter: AddressLimiter) -> None:
    for number in (1, 2, 3):
        ask(limiter, f"192.0.2.{number}", per_minute=1)
    assert ask(limiter, "192.0.2.1", per_minute=1) == 60
    ask(limiter, "192.0.2.4", per_minute=1)
    assert len(limiter._buckets) == 3  # noqa: SLF001 - the bound
    assert ask(limiter, "192.0.2.1", per_minute=1) == 60
    assert ask(limiter, "192.0.2.2", per_minute=1) == 0


def test_a_clock_that_stands_still_or_goes_back_gives_nothing(limiter: AddressLimiter, seconds: Seconds) -> None:
    assert ask(limiter, per_minute=1) == 0
    seconds.now -= 500
    assert ask(limiter, per_minute=1) == 60


@pytest.mark.parametrize(
    ("origin", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
        ("x" * 300, "x" * 64),
    ],
)
def test_what_counts_as_one_address(origin: str, network: str) -> None:
    assert network_of(origin) == network


@given(st.one_of(st.text(), st.ip_addresses().map(str)))
def test_every_origin_has_a_network_that_fits_its_column(origin: str) -> None:
    assert len(network_of(origin)) <= 64


@given(st.lists(st.floats(min_value=0, max_value=30), max_size=100), st.integers(min_value=1, max_value=20))
def test_never_more_are_admitted_than_a_minutes_worth_and_what_came_since(pauses: list[float], per_minute: int) -> None:
    seconds = Seconds()
    limiter = AddressLimiter(seconds)
    admitted = 0
    for pause in pauses:
        seconds.now += pause
        try:
            admitted += ask(limiter, per_minute=per_minute) == 0
        except TooManyRequests:
            continue
    assert admitted <= per_minute * (1 + sum(pauses) / 60) + 1e-6


def test_threads_together_are_admitted_no_more(seconds: Seconds) -> None:
    limiter = AddressLimiter(seconds)
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: ask(limiter, per_minute=50), range(200)))
    assert outcomes.count(0) == 50


# --- at an endpoint ---


class Counting:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.endings: list[Ending] = []

    def requested(self, endpoint: str, operation: str) -> None:
        """Note nothing."""

    def ended(self, endpoint: str, ending: Ending, seconds: float) -> None:
        """Keep an ending."""
        del endpoint, seconds
        self.endings.append(ending)


@pytest.fixture
def observed() -> Counting:
    """Who is told."""
    return Counting()


@pytest.fixture
def responder(world: World, limiter: AddressLimiter, observed: Counting) -> Responder:
    """An endpoint that takes two messages a minute from an address."""
    world.configure(limits=EndpointLimits(requests_per_minute=2))
    return Responder(world.endpoints, world.keys, world.enroller, world.transactions, limiter=limiter, observer=observed)


@pytest.fixture
def client(world: World, rsa_key: rsa.RSAPrivateKey) -> Visitor:
    """A client."""
    return visitor(world, rsa_key)


def message_of(client: Visitor, number: int = 1, message_type: MessageType = MessageType.PKCS_REQ) -> bytes:
    """Return a message of a transaction of its own."""
    csr = build_csr(client.key, f"device {number}").public_bytes(Encoding.DER)
    return client.signed(client.sealed(csr), transaction_id=f"transaction {number}", message_type=message_type)


def exhausted(responder: Responder, client: Visitor, origin: str = "192.0.2.1") -> None:
    """Use up what the address may send; each message is of another transaction."""
    for number in range(2):
        responder.pki_operation("default", message_of(client, number), origin=origin)


def test_whoever_asks_too_often_is_refused_with_words_and_before_anything_is_opened(
    responder: Responder, client: Visitor, observed: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    exhausted(responder, client)

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("the envelope was opened")

    monkeypatch.setattr("scep.message.open_envelope", forbidden)
    answer = parse(responder.pki_operation("default", message_of(client, 3), origin="192.0.2.1"))
    assert said(answer) == (
        PkiStatus.FAILURE,
        FailInfo.BAD_REQUEST,
        "too many requests from this address; come back in 30 seconds",
    )
    assert answer.transaction_id == "transaction 3"
    assert observed.endings[-1] == Ending(Outcome.LIMITED, fail_info=FailInfo.BAD_REQUEST)


def test_a_poll_that_comes_too_early_is_told_to_poll_again(responder: Responder, client: Visitor, observed: Counting) -> None:
    """FAILURE would end an enrolment that waits; PENDING is what its client expects."""
    exhausted(responder, client)
    poll = message_of(client, 3, MessageType.CERT_POLL)
    answer = parse(responder.pki_operation("default", poll, origin="192.0.2.1"))
    assert said(answer) == (PkiStatus.PENDING, None, None)
    assert observed.endings[-1] == Ending(Outcome.LIMITED)


def test_other_addresses_are_not_made_to_wait(responder: Responder, client: Visitor, world: World) -> None:
    csr = build_csr(client.key, "x", world.challenge(world.add_person())).public_bytes(Encoding.DER)
    exhausted(responder, client)
    message = client.signed(client.sealed(csr))
    client.granted(parse(responder.pki_operation("default", message, origin="192.0.2.2")))


def test_a_message_that_is_no_message_counts_as_well(responder: Responder, client: Visitor) -> None:
    for _ in range(2):
        with pytest.raises(Exception, match="CMS"):
            responder.pki_operation("default", b"nonsense", origin="192.0.2.1")
    answer = parse(responder.pki_operation("default", message_of(client), origin="192.0.2.1"))
    assert said(answer)[1] == FailInfo.BAD_REQUEST
    assert "come back" in (said(answer)[2] or "")


def test_what_is_refused_anyhow_is_refused_for_its_own_reason(responder: Responder, client: Visitor) -> None:
    exhausted(responder, client)
    message = client.signed(client.sealed(b"x"), message_type=18)
    assert "18 is not answered" in (said(parse(responder.pki_operation("default", message, origin="192.0.2.1")))[2] or "")


@pytest.fixture
def http(responder: Responder) -> Iterator[httpx2.Client]:
    """The endpoint behind its routes."""
    with ThreadPoolExecutor(1) as pool:
        served = Starlette(routes=list(routes(ScepApplication(responder, pool))))
        yield TestClient(served, raise_server_exceptions=False, client=("192.0.2.1", 50000))


def test_far_beyond_the_limit_the_transport_says_when_to_come_back(
    http: httpx2.Client, client: Visitor, observed: Counting
) -> None:
    message = message_of(client)
    answers = [http.post("/scep/default?operation=PKIOperation", content=message) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert answers[-1].headers["retry-after"] == "30"
    assert answers[-1].text == "too many requests from this address; come back in 30 seconds\n"
    assert observed.endings[-1] == Ending(Outcome.LIMITED)
    # What costs nothing is answered.
    assert http.get("/scep/default?operation=GetCACaps").status_code == 200
