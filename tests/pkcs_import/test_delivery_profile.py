"""Deliveries as payloads of a configuration profile."""

import plistlib
from datetime import UTC, datetime

from ca.authorisation import PersonId
from pkcs_import.archive import Delivered, DeliveryOrder, PackedKey
from pkcs_import.delivery import Method
from pkcs_import.delivery_profile import ProfileDelivery, profile_payloads
from pkcs_import.packing import Encoding

UNTIL = datetime(2026, 6, 2, 12, 0, tzinfo=UTC)
PASSPHRASE = "abcd-efgh-jkmn-pqrs-tuvw-xyz2"


def delivered(orders: list[DeliveryOrder], device: int = 7) -> ProfileDelivery:
    """Ask for the payloads; the archive process is a stand-in that has two keys."""

    def deliver(order: DeliveryOrder) -> Delivered:
        orders.append(order)
        files = tuple(PackedKey(f"encryption-key-{n}.p12", f"file {n}".encode(), (n,), (f"{n:064x}",)) for n in (1, 2))
        return Delivered(11, files, PASSPHRASE)

    return profile_payloads(deliver, PersonId(3), device, ordered_by="worker", expires_at=UNTIL)


def test_each_key_is_ordered_by_itself_in_the_encoding_that_apple_reads() -> None:
    orders: list[DeliveryOrder] = []
    assert delivered(orders).delivery_id == 11
    (order,) = orders
    assert (order.person, order.device, order.method, order.encoding) == (3, 7, Method.PROFILE, Encoding.LEGACY)
    assert order.separate
    assert order.expires_at == UNTIL


def test_a_payload_is_what_a_profile_takes() -> None:
    first, second = delivered([]).payloads
    document = plistlib.loads(plistlib.dumps(first.document("com.example.mail")))
    assert document == {
        "PayloadType": "com.apple.security.pkcs12",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"com.example.mail.{first.uuid}",
        "PayloadUUID": str(first.uuid).upper(),
        "PayloadDisplayName": "encryption-key-1.p12",
        "PayloadCertificateFileName": "encryption-key-1.p12",
        "PayloadContent": b"file 1",
        "Password": PASSPHRASE,
    }
    assert second.pkcs12 == b"file 2"


def test_the_same_certificate_has_the_same_uuid_on_a_device_each_time_and_another_on_another() -> None:
    once, again, elsewhere = ([each.uuid for each in delivered([], device).payloads] for device in (7, 7, 8))
    assert once == again
    assert len({*once, *elsewhere}) == 4


def test_a_payload_shows_no_secret() -> None:
    for payload in delivered([]).payloads:
        assert PASSPHRASE not in repr(payload)
        assert payload.pkcs12.decode() not in repr(payload)
