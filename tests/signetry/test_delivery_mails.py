"""Deliveries by mail, as they arrive: over a real socket, with the file or the link in them and never the passphrase.

And what the mails' fate means for the delivery: the device holds the keys once the last of them has been sent, and not before.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from sqlmodel import Session, col, select
from starlette.applications import Starlette
from starlette.testclient import TestClient

from audit.log import Actor
from audit.records import AuditEvent
from notices import listing, outbox
from notices.records import OwedNotice
from people.devices import DeviceFields, add_device, device_named
from people.person import PersonFields
from people.persons import add_person
from pkcs_import import delivery
from pkcs_import.archive import Delivered, DeliveryOrder
from pkcs_import.delivery import Method, State
from pkcs_import.errors import UnknownDelivery
from signetry import deliveries as pages
from signetry.administration import deliveries, persons
from signetry.administration.deliveries import DeliveryRequest
from signetry.house import House
from tests.daemons.mail_server import RunningMailServer, running_mail_server
from tests.signetry.archived import ArchiveHere, archive_history
from tests.signetry.installation import clock_of_today, opened
from tests.signetry.mailing import with_mail

ALICE = "alice@example.com"


@pytest.fixture
def server() -> Iterator[RunningMailServer]:
    with running_mail_server() as running:
        yield running


@pytest.fixture
def house(installed_home: Path, server: RunningMailServer) -> Iterator[House]:
    """An installation that sends to the server, Alice with a phone and two keys."""
    with_mail(installed_home, server.port)
    with opened(clock_of_today()) as house:

        def people(session: Session) -> None:
            fields, now = PersonFields(upn=ALICE, email=ALICE), house.clock.now()
            add_person(session, fields, actor=house.actor, now=now)
            add_device(session, DeviceFields(name="phone", owner=ALICE, platform="android"), actor=house.actor, now=now)

        house.transactions.write(people)
        house.__dict__["archive"] = archive = ArchiveHere(house)
        archive_history(house, ALICE, [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)])
        yield house
        archive.close()


def send(house: House) -> None:
    for job in house.notices.jobs():
        job.run()


def test_the_file_arrives_and_the_passphrase_does_not(house: House, server: RunningMailServer) -> None:
    ordered = deliveries.order(house, DeliveryRequest(ALICE, "phone", Method.MAIL, separate=False))
    send(house)
    (mail,) = server.received
    assert mail.recipients == (ALICE,)
    (attachment,) = list(mail.message.iter_attachments())
    content = attachment.get_payload(decode=True)
    assert isinstance(content, bytes)
    assert pkcs12.load_pkcs12(content, ordered.passphrase.encode()).key is not None
    assert ordered.passphrase.encode() not in mail.content


def test_the_link_arrives_and_works_with_the_passphrase_that_the_operator_was_shown(
    house: House, server: RunningMailServer
) -> None:
    ordered = deliveries.order(house, DeliveryRequest(ALICE, "phone", Method.LINK, send_link=True))
    send(house)
    (mail,) = server.received
    body = mail.message.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    (link,) = [word for word in text.split() if word.startswith(house.settings.device_url)]
    browser = TestClient(Starlette(routes=pages.routes(house)), base_url=house.settings.device_url)
    assert pkcs12.load_pkcs12(browser.post(link).content, ordered.passphrase.encode()).key is not None
    assert ordered.passphrase not in text


def by_mail(house: House, *, separate: bool = True, lifetime: timedelta | None = None) -> int:
    """Order a delivery of the two keys, a mail each unless they go together; return its number."""
    request = DeliveryRequest(ALICE, "phone", Method.MAIL, separate=separate, lifetime=lifetime)
    return deliveries.order(house, request).delivery.id


def state(house: House, number: int) -> State:
    with house.transactions.reading() as session:
        return deliveries.show(session, number).state


def held(house: House) -> int:
    """Return how many keys the phone holds."""
    with house.transactions.reading() as session:
        return len(delivery.held_by(session, device_named(session, "phone").id))


def attached(house: House) -> list[bytes]:
    """Return the files that lie in the outbox."""
    with house.transactions.reading() as session:
        return [each for each in session.exec(select(OwedNotice.attachment)) if each is not None]


def actions(house: House, prefix: str = "delivery.") -> list[str]:
    with house.transactions.reading() as session:
        recorded = session.exec(select(AuditEvent.action).order_by(col(AuditEvent.id))).all()
    return [action for action in recorded if action.startswith(prefix)]


def test_the_device_holds_the_keys_once_the_mail_was_sent(house: House) -> None:
    number = by_mail(house, separate=False)
    assert (state(house, number), held(house)) == (State.READY, 0)
    send(house)
    assert (state(house, number), held(house), attached(house)) == (State.HANDED, 2, [])
    assert actions(house) == ["delivery.ordered", "delivery.handed"]


def test_of_two_mails_the_second_hands_over(house: House) -> None:
    number = by_mail(house)
    sender = house.notices.sender()
    with house.transactions.reading() as session:
        first, second = listing.unsent(session)
    assert sender.run(only=[first]).sent == 1
    assert (state(house, number), held(house)) == (State.READY, 0)
    assert sender.run(only=[second]).sent == 1
    assert (state(house, number), held(house)) == (State.HANDED, 2)


def test_those_who_are_told_of_handed_keys_are_told_then(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publication hold falls with the mail, not with the order."""
    told: list[int] = []
    monkeypatch.setattr(House, "handed_listeners", (lambda _session, handed: told.append(handed.delivery_id),))
    number = by_mail(house)
    assert told == []
    send(house)
    assert told == [number]


def test_a_mail_that_is_given_up_stops_its_delivery_and_the_other_mail(house: House, server: RunningMailServer) -> None:
    number = by_mail(house)
    server.behaviour.on_recipient = lambda _address: "550 5.1.1 no such user"
    assert house.notices.sender().run().given_up == 2
    assert (state(house, number), held(house), attached(house)) == (State.STOPPED, 0, [])
    assert actions(house) == ["delivery.ordered", "delivery.stopped"]
    server.behaviour.on_recipient = lambda _address: None
    send(house)
    assert server.received == []


def test_half_a_delivery_is_none(house: House, server: RunningMailServer) -> None:
    number = by_mail(house)
    server.behaviour.on_data = lambda _content: "550 5.7.1 not that" if server.received else None
    batch = house.notices.sender().run()
    assert batch.sent == 1
    house.clock.advance(days=4)  # type: ignore[attr-defined] # the test's own
    send(house)
    assert (state(house, number), held(house), attached(house)) == (State.STOPPED, 0, [])


def test_a_mail_waits_no_longer_than_its_delivery(house: House, server: RunningMailServer) -> None:
    number = by_mail(house, lifetime=timedelta(hours=2))
    server.behaviour.on_recipient = lambda _address: "451 greylisted"
    send(house)
    assert (state(house, number), len(attached(house))) == (State.READY, 2)
    house.clock.advance(hours=2)  # type: ignore[attr-defined] # the test's own
    assert pages.expiry_job(house).run() == 1
    server.behaviour.on_recipient = lambda _address: None
    send(house)
    assert (state(house, number), held(house), attached(house)) == (State.EXPIRED, 0, [])
    assert server.received == []


def test_the_mails_of_a_delivery_that_was_stopped_are_not_sent(house: House, server: RunningMailServer) -> None:
    stopped, other = by_mail(house), by_mail(house, separate=False)
    house.transactions.write(lambda session: deliveries.stop(session, house, stopped))
    send(house)
    assert (state(house, stopped), state(house, other)) == (State.STOPPED, State.HANDED)
    assert len(server.received) == 1
    assert attached(house) == []
    assert actions(house, "delivery.stopped") == ["delivery.stopped"]


class _KilledError(BaseException):
    """As if the process ended here."""


def test_a_mail_sent_again_after_a_crash_hands_over_once(house: House, server: RunningMailServer) -> None:
    number = by_mail(house, separate=False)
    sender = house.notices.sender()

    def killed(*_: object, **__: object) -> None:
        raise _KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "settle_sent", killed)
        with pytest.raises(_KilledError):
            sender.run()
    assert (state(house, number), held(house)) == (State.READY, 0)
    house.clock.advance(minutes=2)  # type: ignore[attr-defined] # the test's own
    send(house)
    send(house)
    assert len(server.received) == 2
    assert (state(house, number), actions(house, "delivery.handed")) == (State.HANDED, ["delivery.handed"])


def test_what_was_stopped_before_its_mails_were_owed_has_none(house: House) -> None:
    archive = house.archive

    class Slow:
        """Packs, and lets somebody stop the delivery before it answers."""

        def deliver(self, order: DeliveryOrder, *, actor: Actor) -> Delivered:
            done = archive.deliver(order, actor=actor)
            house.transactions.write(lambda session: deliveries.stop(session, house, done.delivery_id))
            return done

    house.__dict__["archive"] = Slow()
    with pytest.raises(UnknownDelivery):
        by_mail(house)
    assert attached(house) == []


def test_what_was_owed_to_somebody_who_has_left_is_not_sent(house: House, server: RunningMailServer) -> None:
    number = by_mail(house)
    house.transactions.write(lambda session: persons.offboard(session, house, ALICE))
    assert state(house, number) is State.STOPPED
    send(house)
    assert server.received == []
    assert (held(house), attached(house)) == (0, [])
