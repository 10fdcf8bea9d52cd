"""``signetry demo``: the round it makes, what it leaves behind, and what it says when the service is not there."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from sqlmodel import select

from benchmarks.running import free_port
from ca import hierarchy
from ca.records import Certificate
from crl.records import PublishedCrl
from people.records import Person
from scep.challenge import MAX_LIFETIME
from scep.enrolment import Enroller
from scep.errors import ServerUnreachable
from scep.records import Challenge
from scep.responder import Responder
from signetry import demo
from signetry.demo import NotPublished, demonstrate
from signetry.house import House
from tests.signetry.installation import Commands, opened

STEPS = [
    "added a person",
    "minted a one-time challenge",
    "enrolled over SCEP",
    "looked it up",
    "revoked it",
    "saw it on the CRL",
]


class Service:
    """The service as the demonstration sees it, without a network; ``works`` says whether a worker publishes CRLs."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.works = True
        self.crl_requests = 0
        self.transport = httpx2.MockTransport(self._serve)

    def _serve(self, request: httpx2.Request) -> httpx2.Response:
        house = self.house
        if request.url.path.startswith("/crl/"):
            return self._crl(request.url.path.removeprefix("/crl/").removesuffix(".crl"))
        responder = Responder(
            house.endpoints, house.authorities.endpoint_keys, Enroller(house.transactions, house.clock), house.transactions
        )
        match request.url.params["operation"]:
            case "GetCACaps":
                return httpx2.Response(200, text=responder.capabilities("default"))
            case "GetCACert":
                return httpx2.Response(200, content=responder.ca_certificates("default")[1])
            case _:
                return httpx2.Response(200, content=responder.pki_operation("default", request.content, origin="test"))

    def _crl(self, name: str) -> httpx2.Response:
        self.crl_requests += 1
        # What a service that is just starting may answer.
        if self.crl_requests == 1:
            raise httpx2.ConnectError("not yet")
        if self.crl_requests == 2:
            return httpx2.Response(503, text="not yet")
        if self.works and self.crl_requests > 3:
            self.house.publish_crls()
        number = self.house.authority(name).id
        newest = select(PublishedCrl).where(PublishedCrl.authority_id == number).order_by(PublishedCrl.number.desc())  # type: ignore[attr-defined] # a column
        with self.house.transactions.reading() as session:
            return httpx2.Response(200, content=session.exec(newest).first().der)  # type: ignore[union-attr] # init made one


@pytest.fixture
def house(installed_home: Path) -> Iterator[House]:
    """An installation."""
    assert installed_home.exists()
    with opened() as made:
        yield made


@pytest.fixture
def service(house: House, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service that the demonstration reaches."""
    made = Service(house)
    client = httpx2.Client
    monkeypatch.setattr(httpx2, "Client", lambda **options: client(**{**options, "transport": made.transport}))
    monkeypatch.setattr(demo, "_LOOK_EVERY_SECONDS", 0.01)
    return made


def persons(house: House) -> list[Person]:
    with house.transactions.reading() as session:
        return list(session.exec(select(Person)).all())


def test_the_round_ends_on_the_crl_and_leaves_nothing_that_could_enrol(house: House, service: Service) -> None:
    steps = list(demonstrate(house))
    assert [step.done for step in steps] == STEPS
    assert all(step.milliseconds >= 0 for step in steps)
    assert service.crl_requests == 4
    with house.transactions.reading() as session:
        certificate = session.exec(select(Certificate).where(Certificate.profile == "mail-all-in-one")).one()
        challenge = session.exec(select(Challenge)).one()
    assert certificate.revocation_reason == "cessationOfOperation"
    assert certificate.serial in steps[2].outcome
    assert challenge.redeemed_at is not None
    assert challenge.expires_at - challenge.created_at < MAX_LIFETIME
    (person,) = persons(house)
    assert not person.active


def test_any_profile_for_persons_will_do(house: House, service: Service) -> None:
    with (house.settings.home / "signetry.toml").open("w") as file:
        file.write('[endpoints.default]\nprofiles = ["device", "smime-signing"]\n')
    with opened() as strict:
        service.house = strict
        assert [step.done for step in demonstrate(strict)] == STEPS


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ('[endpoints.default]\nprofiles = ["device"]\n', "issues nothing to persons"),
        ("[endpoints.other]\n", "no SCEP endpoint 'default'"),
    ],
)
def test_what_cannot_be_demonstrated_is_said_before_anything_is_done(
    house: House, service: Service, commands: Commands, settings: str, reason: str
) -> None:
    (house.settings.home / "signetry.toml").write_text(settings)
    assert reason in commands.refused("demo")
    assert (persons(house), service.crl_requests) == ([], 0)


def test_without_a_worker_it_says_so_and_deactivates_the_person(
    house: House, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_PATIENCE_SECONDS", 0.3)
    service.works = False
    steps = demonstrate(house)
    assert [next(steps).done for _ in STEPS[:-1]] == STEPS[:-1]
    with pytest.raises(NotPublished, match=r"crl/issuing.crl does not list the certificate .* does the worker run\?"):
        next(steps)
    assert [person.active for person in persons(house)] == [False]


def test_without_a_service_nothing_is_recorded(house: House, commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNETRY_PUBLIC_LISTEN", f"127.0.0.1:{free_port()}")
    assert "does not answer: ConnectError" in commands.refused("demo")
    assert persons(house) == []
    with opened() as elsewhere, pytest.raises(ServerUnreachable):
        next(demonstrate(elsewhere))


@pytest.mark.usefixtures("service")
def test_the_command_shows_each_step(commands: Commands, house: House) -> None:
    assert [step["step"] for step in commands.json("demo")] == STEPS
    lines = commands.text("demo").splitlines()
    assert len(lines) == len(STEPS)
    assert all(step in line for step, line in zip(STEPS, lines, strict=True))
    assert hierarchy.ISSUING in lines[-1]
    assert house.settings.public_listen.dialled in lines[-1]
