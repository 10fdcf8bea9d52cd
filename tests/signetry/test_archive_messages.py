"""What is said to the archive process: read strictly, and the same on both sides."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.log import Actor
from ca.authorisation import PersonId
from ca.errors import KeyUnavailable, TokenUnavailable
from foundation.errors import BadRequest, Conflict, NotAuthorised, SignetryError, Unavailable
from pkcs_import import errors
from pkcs_import.archive import Delivered, DeliveryOrder, PackedKey, Recovered
from pkcs_import.errors import ArchiveUnavailable, BadContainer, DeliveryRefused, SealBroken, UnknownRecovery
from pkcs_import.packing import Encoding
from signetry.access.errors import NotAuthenticated
from signetry.archive_messages import (
    DeliverQuestion,
    RecoverQuestion,
    answer,
    question,
    read_delivered,
    read_question,
    read_recovered,
    refusal,
)

ORDER = DeliveryOrder(
    person=PersonId(7),
    device=3,
    method="link",
    encoding=Encoding.LEGACY,
    ordered_by="token:3:olga",
    separate=True,
    key_ids=(9, 8),
    token_digest="5f" * 32,
    expires_at=datetime(2026, 6, 1, 12, 0, tzinfo=UTC),
)
DELIVER = DeliverQuestion(ORDER, Actor("token:3:olga", origin="192.0.2.9"))
BARE = DeliverQuestion(
    DeliveryOrder(person=PersonId(7), method="intune", encoding=Encoding.MODERN, ordered_by="worker"), Actor("worker")
)
RECOVER = RecoverQuestion(request_id=4, encoding=Encoding.MODERN, separate=False, token="stok_4_secret", origin="192.0.2.9")
FILE = PackedKey("encryption-keys.p12", b"\x30\x00", (9, 8), ("5f" * 32, "6a" * 32))


@pytest.mark.parametrize("asked", [DELIVER, BARE, RECOVER])
def test_a_question_arrives_as_it_was_asked(asked: DeliverQuestion | RecoverQuestion) -> None:
    assert read_question(question(asked)) == asked


def test_an_answer_arrives_as_it_was_given() -> None:
    for passphrase, encrypted in (("abcd-efgh", None), (None, b"\0\1")):
        delivered = Delivered(5, (FILE, FILE), passphrase, encrypted)
        assert read_delivered(answer(delivered)) == delivered
    recovered = Recovered(4, PersonId(7), (FILE,), "abcd-efgh")
    assert read_recovered(answer(recovered)) == recovered


def test_no_secret_shows_in_a_question_or_an_answer() -> None:
    answers = (Delivered(5, (FILE,), "abcd-efgh", b"sealed"), Recovered(4, PersonId(7), (FILE,), "abcd-efgh"))
    for shown in map(repr, (RECOVER, DELIVER, *answers)):
        for secret in ("stok_4_secret", "abcd-efgh", "sealed", "token_digest", "pkcs12="):
            assert secret not in shown


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"rotate": {}},
        {"unwrap": {"key": 1}},
        {"deliver": None},
        {"deliver": []},
        {"deliver": {}},
        {"recover": {"request_id": 4}},
        question(DELIVER) | question(RECOVER),
    ],
)
def test_there_are_two_operations_and_nothing_else(message: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        read_question(message)


@pytest.mark.parametrize(
    ("operation", "name", "value"),
    [
        ("deliver", "person", "7"),
        ("deliver", "person", True),
        ("deliver", "person", 0),
        ("deliver", "person", 1 << 63),
        ("deliver", "device", -1),
        ("deliver", "device", 1.0),
        ("deliver", "method", 3),
        ("deliver", "method", "x" * 501),
        ("deliver", "encoding", "none"),
        ("deliver", "separate", 1),
        ("deliver", "key_ids", "all"),
        ("deliver", "key_ids", [1, "2"]),
        ("deliver", "key_ids", [True]),
        ("deliver", "key_ids", list(range(1, 1002))),
        ("deliver", "token_digest", 5),
        ("deliver", "expires_at", "soon"),
        ("deliver", "expires_at", "2026-06-01T12:00:00"),
        ("deliver", "actor", None),
        ("deliver", "passphrase", "of my own"),
        ("recover", "request_id", None),
        ("recover", "encoding", "none"),
        ("recover", "token", None),
        ("recover", "separate", "no"),
        ("recover", "by", 7),
    ],
)
def test_a_field_that_is_not_as_it_must_be_is_refused(operation: str, name: str, value: object) -> None:
    message = question(DELIVER if operation == "deliver" else RECOVER)
    message[operation][name] = value
    with pytest.raises(BadRequest) as refused:
        read_question(message)
    assert "secret" not in str(refused.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["deliver", "recover", "person", "token"]), inner),
    )
)
def test_whatever_json_holds_is_a_question_or_refused(value: object) -> None:
    for message in ({"deliver": value}, {"recover": value}, value):
        if isinstance(message, dict):
            with pytest.raises(BadRequest):
                read_question(message)


@pytest.mark.parametrize(
    ("error", "arrives"),
    [
        (DeliveryRefused("the device is not theirs"), DeliveryRefused),
        (UnknownRecovery("there is none"), UnknownRecovery),
        (SealBroken("it does not open"), SealBroken),
        (KeyUnavailable("there is no key"), KeyUnavailable),
        (NotAuthenticated(), NotAuthorised),
        (Conflict("it is so already"), Conflict),
        (Unavailable("it is down"), Unavailable),
    ],
)
def test_a_refusal_arrives_as_what_it_is(error: SignetryError, arrives: type[SignetryError]) -> None:
    for read in (read_delivered, read_recovered):
        with pytest.raises(SignetryError) as refused:
            read(refusal(error))
        assert (type(refused.value), str(refused.value)) == (arrives, str(error))


def test_why_a_token_is_not_there_is_not_told() -> None:
    with pytest.raises(KeyUnavailable) as refused:
        read_delivered(refusal(TokenUnavailable("the PIN in /secret/place is wrong")))
    assert "/secret/place" not in str(refused.value)


def test_every_error_of_the_room_arrives() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, BadContainer)]
    for kind in kinds:
        with pytest.raises(kind):
            read_delivered(refusal(kind("no")))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: {},
        lambda _: {"refused": {"kind": "SystemExit", "message": "no"}},
        lambda message: {"delivered": message["delivered"] | {"files": None}},
        lambda message: {"delivered": message["delivered"] | {"files": [7]}},
        lambda message: {"delivered": message["delivered"] | {"delivery_id": "5"}},
        lambda _: {"delivered": {}},
        lambda message: {"delivered": message["delivered"] | {"encrypted_passphrase": "not base64"}},
    ],
)
def test_an_answer_that_makes_no_sense_counts_as_none(spoil: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    with pytest.raises(ArchiveUnavailable):
        read_delivered(spoil(answer(replace(Delivered(5, (FILE,), "abcd-efgh"), delivery_id=5))))
