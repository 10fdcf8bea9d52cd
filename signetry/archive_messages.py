"""What is said to the archive process and what it answers, as JSON: two operations, and refusals by their class. Pure.

Both sides read what they get as any other input: a field that is missing, superfluous or of another kind is a bad request.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, TypeVar

from audit.log import Actor
from ca.authorisation import PersonId
from ca.errors import KeyUnavailable
from foundation import errors as categories
from foundation.errors import BadRequest, SignetryError
from pkcs_import import errors
from pkcs_import.archive import Delivered, DeliveryOrder, PackedKey, Recovered
from pkcs_import.packing import Encoding
from pkcs_import.workshop_messages import Message, bytes_of, text_of
from signetry.access.errors import RoleRefused

# Room for an order that names all of somebody's keys.
LONGEST_QUESTION: Final = 64 << 10
# Room for hundreds of keys with their chains, in base64.
LONGEST_ANSWER: Final = 32 << 20
_MOST_KEYS: Final = 1000
_LONGEST_TEXT: Final = 500

_Value = TypeVar("_Value")


def _classes(*modules: object) -> Mapping[str, type[SignetryError]]:
    every = [each for module in modules for each in vars(module).values() if isinstance(each, type)]
    return {each.__name__: each for each in every if issubclass(each, SignetryError) and each is not SignetryError}


# What a refusal can be on the other side: one of the room's errors, else its category.
_REFUSALS: Final[Mapping[str, type[SignetryError]]] = MappingProxyType(
    {
        **_classes(categories, errors),
        **{each.__name__: each for each in (KeyUnavailable, RoleRefused)},
    }
)


@dataclass(frozen=True, slots=True)
class DeliverQuestion:
    """An order, and who asks."""

    order: DeliveryOrder
    actor: Actor


@dataclass(frozen=True, slots=True)
class RecoverQuestion:
    """The number of a recovery request, and the token of who exports it; ``origin`` is from where it was presented."""

    request_id: int
    encoding: Encoding
    separate: bool
    token: str = field(repr=False)
    origin: str = "local"


Question = DeliverQuestion | RecoverQuestion


def question(asked: Question) -> Message:
    """Return a question as it is sent."""
    if isinstance(asked, RecoverQuestion):
        return {
            "recover": {
                "request_id": asked.request_id,
                "encoding": str(asked.encoding),
                "separate": asked.separate,
                "token": asked.token,
                "origin": asked.origin,
            }
        }
    order = asked.order
    return {
        "deliver": {
            "person": int(order.person),
            "device": order.device,
            "method": str(order.method),
            "encoding": str(order.encoding),
            "ordered_by": order.ordered_by,
            "separate": order.separate,
            "key_ids": list(order.key_ids),
            "token_digest": order.token_digest,
            "expires_at": None if order.expires_at is None else order.expires_at.isoformat(),
            "actor": asked.actor.name,
            "origin": asked.actor.origin,
        }
    }


def read_question(message: Message) -> Question:
    """Return the question that a message holds. Raises BadRequest: it holds none, or more than one."""
    if len(message) == 1:
        ((operation, asked),) = message.items()
        if isinstance(asked, dict) and operation == "deliver":
            return _deliver_question(_Fields(asked))
        if isinstance(asked, dict) and operation == "recover":
            return _recover_question(_Fields(asked))
    raise BadRequest("the archive process does two things: deliver and recover")


def answer(found: Delivered | Recovered) -> Message:
    """Return an answer as it is sent."""
    if isinstance(found, Recovered):
        recovered = {
            "request_id": found.request_id,
            "person": int(found.person),
            "files": [_file(each) for each in found.files],
            "passphrase": found.passphrase,
        }
        return {"recovered": recovered}
    encrypted = found.encrypted_passphrase
    return {
        "delivered": {
            "delivery_id": found.delivery_id,
            "files": [_file(each) for each in found.files],
            "passphrase": found.passphrase,
            "encrypted_passphrase": None if encrypted is None else text_of(encrypted),
        }
    }


def refusal(error: SignetryError) -> Message:
    """Return a refusal as it is sent: the nearest class that the other side knows, and the message for the peer."""
    kind = next((each.__name__ for each in type(error).__mro__ if each.__name__ in _REFUSALS), "Unavailable")
    return {"refused": {"kind": kind, "message": str(error)}}


def require_no_refusal(message: Message) -> None:
    """Return if a message is no refusal. Raises what the other side refused with."""
    refused = message.get("refused")
    if isinstance(refused, dict):
        kind = _REFUSALS.get(str(refused.get("kind")), errors.ArchiveUnavailable)
        raise kind(str(refused.get("message")))


def read_delivered(message: Message) -> Delivered:
    """Return what was delivered. Raises what the other side refused with; ArchiveUnavailable where it makes no sense."""
    fields = _answered(message, "delivered")
    try:
        encrypted = fields.one("encrypted_passphrase")
        passphrase = fields.one("passphrase")
        return Delivered(
            fields.number("delivery_id"),
            tuple(_read_file(each) for each in fields.one("files")),
            None if passphrase is None else str(passphrase),
            None if encrypted is None else bytes_of(encrypted),
        )
    except (BadRequest, ValueError, TypeError):
        raise errors.ArchiveUnavailable("the archive process answers what cannot be read") from None


def read_recovered(message: Message) -> Recovered:
    """Return what was recovered. Raises as ``read_delivered``."""
    fields = _answered(message, "recovered")
    try:
        files = tuple(_read_file(each) for each in fields.one("files"))
        return Recovered(fields.number("request_id"), PersonId(fields.number("person")), files, fields.text("passphrase"))
    except (BadRequest, ValueError, TypeError):
        raise errors.ArchiveUnavailable("the archive process answers what cannot be read") from None


class _Fields:
    """The fields of an object that somebody else wrote."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self._read: set[str] = set()

    def one(self, name: str) -> Any:  # noqa: ANN401 - whatever stands there
        if name not in self._given:
            raise BadRequest(f"{name} is missing")
        self._read.add(name)
        return self._given[name]

    def _of(self, name: str, kind: type[_Value]) -> _Value:
        value = self.one(name)
        # A bool is an int to Python.
        if type(value) is not kind:
            raise BadRequest(f"{name} is of another kind")
        return value

    def encoding(self, name: str) -> Encoding:
        try:
            return Encoding(self.text(name))
        except ValueError:
            raise BadRequest(f"{name} is none of {', '.join(Encoding)}") from None

    def moment(self, name: str) -> datetime:
        try:
            found = datetime.fromisoformat(self.text(name))
        except ValueError:
            raise BadRequest(f"{name} is no time") from None
        if found.tzinfo is None:
            raise BadRequest(f"{name} has no time zone")
        return found

    def number(self, name: str) -> int:
        value = self._of(name, int)
        if not 0 < value < 1 << 63:
            raise BadRequest(f"{name} is out of range")
        return value

    def text(self, name: str) -> str:
        value = self._of(name, str)
        if len(value) > _LONGEST_TEXT:
            raise BadRequest(f"{name} is too long")
        return value

    def flag(self, name: str) -> bool:
        return self._of(name, bool)

    def numbers(self, name: str) -> tuple[int, ...]:
        values = self._of(name, list)
        if len(values) > _MOST_KEYS or not all(type(each) is int and 0 < each < 1 << 63 for each in values):
            raise BadRequest(f"{name} is no list of numbers")
        return tuple(values)

    def is_given(self, name: str) -> bool:
        return self.one(name) is not None

    def require_all_read(self) -> None:
        if self._given.keys() - self._read:
            raise BadRequest("there is a field that nobody knows")


def _deliver_question(fields: _Fields) -> DeliverQuestion:
    order = DeliveryOrder(
        person=PersonId(fields.number("person")),
        device=fields.number("device") if fields.is_given("device") else None,
        method=fields.text("method"),
        encoding=fields.encoding("encoding"),
        ordered_by=fields.text("ordered_by"),
        separate=fields.flag("separate"),
        key_ids=fields.numbers("key_ids"),
        token_digest=fields.text("token_digest") if fields.is_given("token_digest") else None,
        expires_at=fields.moment("expires_at") if fields.is_given("expires_at") else None,
    )
    asked = DeliverQuestion(order, Actor(fields.text("actor"), fields.text("origin")))
    fields.require_all_read()
    return asked


def _recover_question(fields: _Fields) -> RecoverQuestion:
    asked = RecoverQuestion(
        fields.number("request_id"),
        fields.encoding("encoding"),
        fields.flag("separate"),
        fields.text("token"),
        fields.text("origin"),
    )
    fields.require_all_read()
    return asked


def _answered(message: Message, expected: str) -> _Fields:
    found = message.get(expected)
    if isinstance(found, dict):
        return _Fields(found)
    require_no_refusal(message)
    raise errors.ArchiveUnavailable("the archive process answers what cannot be read")


def _file(packed: PackedKey) -> dict[str, object]:
    return {
        "name": packed.name,
        "pkcs12": text_of(packed.pkcs12),
        "key_ids": list(packed.key_ids),
        "certificate_sha256s": list(packed.certificate_sha256s),
    }


def _read_file(given: Any) -> PackedKey:  # noqa: ANN401 - whatever stands there
    fields = _Fields(given)
    sha256s = tuple(str(each) for each in fields.one("certificate_sha256s"))
    return PackedKey(fields.text("name"), bytes_of(fields.one("pkcs12")), fields.numbers("key_ids"), sha256s)
