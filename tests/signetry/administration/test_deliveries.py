"""Ordering deliveries: real keys out of a real archive, opened by openssl."""

import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from sqlmodel import Session, col, select
from starlette.applications import Starlette
from starlette.testclient import TestClient

from audit.records import AuditEvent
from foundation.errors import BadRequest
from notices.errors import NoticesNotConfigured
from notices.records import OwedNotice
from people.devices import DeviceFields, add_device
from people.person import PersonFields
from people.persons import add_person
from pkcs_import.delivery import Method, State
from pkcs_import.delivery_targets import Target
from pkcs_import.errors import DeliveryRefused, UnknownDelivery
from pkcs_import.packing import Encoding
from pkcs_import.records import Delivery
from signetry import deliveries as pages
from signetry.administration import deliveries, persons
from signetry.administration.deliveries import DeliveryRequest, Ordered
from signetry.administration.rehearsal import perform
from signetry.house import House
from tests.signetry import installation
from tests.signetry.archived import ArchiveHere, Identity, PrivateKey, archive_history

ALICE = "alice@example.com"


class Office:
    """An installation, Alice with her devices and three years of keys, and the archive process's code in this process."""

    def __init__(self, house: House) -> None:
        self.house = house
        house.__dict__["archive"] = self.archive = ArchiveHere(house)
        house.transactions.write(self._people)
        keys: list[PrivateKey] = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
        self.history: list[Identity] = archive_history(house, ALICE, keys)

    def _people(self, session: Session) -> None:
        now = self.house.clock.now()
        for name in ("alice", "bob"):
            address = f"{name}@example.com"
            fields = PersonFields(upn=address, email=address, display_name=name.capitalize())
            add_person(session, fields, actor=self.house.actor, now=now)
        for name, platform in (("alice-iphone", "ios"), ("alice-android", "android"), ("alice-desktop", "linux")):
            fields_of_device = DeviceFields(name=name, owner=ALICE, platform=platform)
            add_device(session, fields_of_device, actor=self.house.actor, now=now)
        add_device(session, DeviceFields(name="bobs", owner="bob@example.com"), actor=self.house.actor, now=now)

    def order(self, method: Method, device: str = "alice-iphone", **more: object) -> Ordered:
        """Order a delivery of Alice's keys."""
        request = replace(DeliveryRequest(ALICE, device, method), **more)  # type: ignore[arg-type] # its fields
        return deliveries.order(self.house, request)

    def browser(self) -> TestClient:
        """Return a browser before the device listener."""
        return TestClient(Starlette(routes=pages.routes(self.house)), base_url=self.house.settings.device_url)

    def state(self, number: int) -> State:
        """Return how a delivery stands."""
        with self.house.transactions.reading() as session:
            return deliveries.show(session, number).state

    def notices(self) -> list[OwedNotice]:
        """Return the mails that are owed."""
        with self.house.transactions.reading() as session:
            found = list(session.exec(select(OwedNotice).order_by(col(OwedNotice.id))))
            session.expunge_all()
            return found


@pytest.fixture
def office(installed_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:  # noqa: ARG001 - it sets the environment
    """The office."""
    monkeypatch.setenv("SIGNETRY_NOTICES__HOST", "127.0.0.1")
    monkeypatch.setenv("SIGNETRY_NOTICES__SECURITY", "none")
    monkeypatch.setenv("SIGNETRY_NOTICES__SENDER", "pki@example.com")
    with installation.opened(installation.clock_of_today()) as house:
        made = Office(house)
        yield made
        made.archive.close()


def openssl(pkcs12_file: bytes, passphrase: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Have openssl read a file."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "keys.p12")
        path.write_bytes(pkcs12_file)
        command = ["openssl", "pkcs12", "-legacy", "-in", str(path), "-passin", "stdin", *arguments]
        return subprocess.run(command, input=passphrase.encode(), capture_output=True, check=True)


def opened(pkcs12_file: bytes, passphrase: str) -> bytes:
    """Return what openssl finds in a file, as PEM."""
    return openssl(pkcs12_file, passphrase, "-nodes").stdout


def keys_in(pem: bytes) -> set[bytes]:
    """Return the public halves of the private keys in a PEM text."""
    end = b"-----END PRIVATE KEY-----"
    found = set()
    for part in pem.split(end)[:-1]:
        begin = part.rindex(b"-----BEGIN PRIVATE KEY-----")
        found.add(_spki(serialization.load_pem_private_key(part[begin:] + end + b"\n", None).public_key()))
    return found


def _spki(key: object) -> bytes:
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def spkis(office: Office) -> set[bytes]:
    return {_spki(identity.key.public_key()) for identity in office.history}


def algorithms(pkcs12_file: bytes, passphrase: str) -> str:
    """Return what openssl says of a file's encryption."""
    return openssl(pkcs12_file, passphrase, "-info", "-noout").stderr.decode()


def test_a_link_leads_once_to_all_keys_with_the_passphrase_that_was_shown(office: Office) -> None:
    ordered = office.order(Method.LINK, separate=False)
    assert ordered.link is not None
    assert ordered.link.startswith("https://pki.example.com:8444/keys?token=")
    assert (ordered.mailed_to, ordered.files, ordered.delivery.state) == (None, (), State.READY)
    browser = office.browser()
    assert "alice-iphone: 3" in browser.get(ordered.link).text
    file = browser.post(ordered.link).content
    assert keys_in(opened(file, ordered.passphrase)) == spkis(office)
    current = pkcs12.load_pkcs12(file, ordered.passphrase.encode())
    assert current.cert is not None
    assert office.state(ordered.delivery.id) is State.FETCHED
    assert browser.post(ordered.link).status_code == 404


def test_the_passphrase_is_long_and_written_nowhere(office: Office, installed_home: Path) -> None:
    ordered = office.order(Method.LINK)
    assert ordered.link is not None
    assert len(ordered.passphrase.replace("-", "")) >= 22
    token = ordered.link.partition("token=")[2]
    for path in installed_home.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert ordered.passphrase.encode() not in content
            assert token.encode() not in content
    assert ordered.passphrase not in repr(ordered)
    assert token not in repr(ordered)


@pytest.mark.parametrize(
    ("method", "device", "target", "encoding"),
    [
        (Method.LINK, "alice-iphone", None, Encoding.LEGACY),
        (Method.LINK, "alice-android", None, Encoding.MODERN),
        (Method.FILE, "alice-desktop", None, Encoding.MODERN),
        (Method.FILE, "alice-desktop", Target.GPGSM, Encoding.LEGACY),
        (Method.MAIL, "alice-android", None, Encoding.LEGACY),
        (Method.LINK, "alice-iphone", Target.OTHER, Encoding.MODERN),
    ],
)
def test_what_imports_a_file_decides_its_encoding(
    office: Office, method: Method, device: str, target: Target | None, encoding: Encoding
) -> None:
    assert office.order(method, device, target=target).delivery.encoding == encoding


def test_old_importers_get_3des_and_the_others_aes(office: Office) -> None:
    for target, cipher, mac in ((Target.APPLE, "3-KeyTripleDES", "sha1"), (Target.OTHER, "AES-256-CBC", "sha256")):
        ordered = office.order(Method.FILE, "alice-desktop", target=target)
        told = algorithms(ordered.files[0].pkcs12, ordered.passphrase)
        assert cipher in told
        assert f"MAC: {mac}" in told


def test_a_file_counts_as_handed_over_once_it_was_written(office: Office) -> None:
    ordered = office.order(Method.FILE, "alice-desktop")
    (file,) = ordered.files
    assert keys_in(opened(file.pkcs12, ordered.passphrase)) == spkis(office)
    assert office.state(ordered.delivery.id) is State.READY
    deliveries.handed(office.house, ordered.delivery.id)
    assert office.state(ordered.delivery.id) is State.HANDED


def test_separate_files_hold_a_key_each_the_current_one_first(office: Office) -> None:
    ordered = office.order(Method.FILE, "alice-desktop", separate=True)
    found = [pkcs12.load_pkcs12(file.pkcs12, ordered.passphrase.encode()) for file in ordered.files]
    serials = [each.cert.certificate.serial_number for each in found if each.cert]
    assert serials == [identity.certificate.serial_number for identity in reversed(office.history)]
    assert len({file.name for file in ordered.files}) == 3


def test_for_what_takes_one_key_at_a_time_a_link_leads_to_a_zip_archive_of_files(office: Office) -> None:
    ordered = office.order(Method.LINK)
    got = office.browser().post(str(ordered.link))
    assert got.headers["content-type"] == "application/zip"
    assert got.headers["content-disposition"] == f'attachment; filename="mail-keys-{ordered.delivery.id}.zip"'
    with zipfile.ZipFile(BytesIO(got.content)) as archive:
        files = [archive.read(name) for name in archive.namelist()]
    assert [keys_in(opened(file, ordered.passphrase)) for file in files] == [
        {_spki(identity.key.public_key())} for identity in reversed(office.history)
    ]


def test_a_mailed_link_is_shown_to_nobody_else(office: Office) -> None:
    ordered = office.order(Method.LINK, send_link=True, separate=False)
    assert (ordered.link, ordered.mailed_to) == (None, ALICE)
    (notice,) = office.notices()
    assert (notice.template, notice.address, notice.values["device"], notice.values["keys"]) == (
        "delivery-link",
        ALICE,
        "alice-iphone",
        "3",
    )
    assert notice.good_until == ordered.delivery.expires_at
    assert ordered.passphrase not in str(notice.values)
    file = office.browser().post(notice.values["link"]).content
    assert keys_in(opened(file, ordered.passphrase)) == spkis(office)


def test_by_mail_the_file_is_attached_and_the_passphrase_is_not_in_the_mail(office: Office) -> None:
    ordered = office.order(Method.MAIL, "alice-android", separate=False)
    assert (ordered.mailed_to, ordered.link, ordered.files, ordered.delivery.state) == (ALICE, None, (), State.READY)
    (notice,) = office.notices()
    assert (notice.template, notice.reference) == ("delivery-mail", f"delivery:{ordered.delivery.id}")
    assert notice.good_until == ordered.delivery.expires_at
    assert notice.attachment is not None
    assert keys_in(opened(notice.attachment, ordered.passphrase)) == spkis(office)
    assert ordered.passphrase not in str(notice.values)


def test_by_mail_each_key_comes_by_itself(office: Office) -> None:
    office.order(Method.MAIL)
    assert [notice.values["keys"] for notice in office.notices()] == ["1", "1", "1"]


def test_without_a_mail_server_nothing_is_ordered_that_needs_one(office: Office) -> None:
    bare = office.house.settings.notices.model_copy(update={"host": ""})
    house = replace(office.house, settings=office.house.settings.model_copy(update={"notices": bare}))
    house.__dict__["archive"] = office.archive
    for method, send_link in ((Method.MAIL, False), (Method.LINK, True)):
        with pytest.raises(NoticesNotConfigured):
            deliveries.order(house, DeliveryRequest(ALICE, "alice-iphone", method, send_link=send_link))
    with house.transactions.reading() as session:
        assert session.exec(select(Delivery)).all() == []


def test_the_device_must_be_the_persons(office: Office) -> None:
    with pytest.raises(DeliveryRefused, match=r"the device bobs is not alice@example\.com's"):
        office.order(Method.LINK, "bobs")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lifetime": timedelta(days=31)}, "up to 30 days"),
        ({"lifetime": timedelta(0)}, "up to 30 days"),
        ({"method": Method.FILE, "send_link": True}, "only a link"),
        ({"method": Method.INTUNE}, "method: link, file, mail"),
    ],
)
def test_wishes_that_contradict_each_other_are_refused(office: Office, changes: dict[str, object], words: str) -> None:
    wanted = replace(DeliveryRequest(ALICE, "alice-iphone", Method.LINK), **changes)  # type: ignore[arg-type] # its fields
    with pytest.raises(BadRequest, match=words):
        deliveries.order(office.house, wanted)


@pytest.mark.usefixtures("office")
def test_a_method_that_the_settings_do_not_allow_is_refused_by_the_archive_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNETRY_ARCHIVE__DELIVERY_METHODS", "link,intune")
    with installation.opened(installation.clock_of_today()) as house:
        archive = ArchiveHere(house)
        house.__dict__["archive"] = archive
        with pytest.raises(DeliveryRefused, match=r"archive\.delivery_methods"):
            deliveries.order(house, DeliveryRequest(ALICE, "alice-desktop", Method.FILE))
        assert deliveries.order(house, DeliveryRequest(ALICE, "alice-desktop", Method.LINK)).link
        archive.close()


def test_a_plan_says_what_would_be_delivered_and_changes_nothing(office: Office) -> None:
    request = DeliveryRequest(ALICE, "alice-iphone", Method.LINK)
    planned = office.house.transactions.write(lambda session: deliveries.plan(session, office.house, request))
    assert [key.key for key in planned.keys] == [identity.archived for identity in reversed(office.history)]
    assert (planned.person, planned.device, planned.encoding, planned.separate) == (ALICE, "alice-iphone", Encoding.LEGACY, True)
    assert planned.expires_at == office.house.clock.now() + timedelta(hours=72)
    with office.house.transactions.reading() as session:
        assert session.exec(select(Delivery)).all() == []


def test_the_person_who_leaves_gets_nothing_any_more_and_the_archive_keeps_what_it_has(office: Office) -> None:
    ordered = office.order(Method.LINK)
    assert ordered.link is not None
    leave = partial(persons.offboard, house=office.house, who=ALICE)
    for dry_run in (True, False):
        gone = office.house.transactions.write(partial(perform, act=leave, dry_run=dry_run))
        assert gone.keys.stopped == (ordered.delivery.id,)
        assert gone.keys.kept == 3
        assert gone.keys.withdrawn == (f"{office.history[-1].certificate.serial_number:x}",)
        assert office.state(ordered.delivery.id) is (State.READY if dry_run else State.STOPPED)
        assert office.browser().get(ordered.link).status_code == (200 if dry_run else 404)
    with pytest.raises(DeliveryRefused, match="the person is not active"):
        office.order(Method.LINK)
    again = office.house.transactions.write(leave)
    assert (again.keys.stopped, again.keys.withdrawn, again.keys.kept) == ((), (), 3)


def test_a_delivery_is_stopped_by_hand_once(office: Office) -> None:
    ordered = office.order(Method.LINK)

    def stop() -> State:
        return office.house.transactions.write(lambda s: deliveries.stop(s, office.house, ordered.delivery.id)).state

    assert stop() is State.STOPPED
    with pytest.raises(UnknownDelivery):
        stop()


def test_who_ordered_is_on_record(office: Office) -> None:
    ordered = office.order(Method.LINK)
    with office.house.transactions.reading() as session:
        event = session.exec(select(AuditEvent).where(AuditEvent.action == "delivery.ordered")).one()
        (shown,) = deliveries.listed(session, person=ALICE, device="alice-iphone", state=State.READY, limit=10)
        assert deliveries.listed(session, person="bob@example.com", limit=10) == []
    assert event.actor == office.house.actor.name == shown.ordered_by
    assert shown == ordered.delivery
    assert len(shown.keys) == 3
