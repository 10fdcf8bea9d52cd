"""The mails there are: what each is about, which values its words are made of, and which of them they must not leave out.

The words themselves are templates (``notices/rendering.py``), ours in English and Japanese or an operator's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from notices.errors import BadNotice, UnknownTemplate

KEY_ARCHIVED = "key-archived"
KEY_RENEWED = "key-renewed"
DELIVERY_LINK = "delivery-link"
DELIVERY_MAIL = "delivery-mail"
TEST = "test"

# What every template may use, beside its own: who is written to, who writes, and where to ask.
COMMON: Mapping[str, str] = {"name": "Taro Yamada", "service": "Example PKI", "contact": "help desk, extension 1234"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A mail there is.

    Attributes:
        name: its template's name.
        about: what it tells, in a line for administrators.
        values: the values it is made of, each with an example. Points in time are ISO 8601 with an offset.
        shown: those of them without which it would be of no use.
        attached: whether a file goes with it; its name is then the value ``file``.
    """

    name: str
    about: str
    values: Mapping[str, str] = field(default_factory=dict)
    shown: frozenset[str] = frozenset()
    attached: bool = False

    def require(self, values: Mapping[str, str]) -> None:
        """Return if ``values`` are those it is made of, neither fewer nor more.

        Raises:
            BadNotice: they are not.
        """
        differing = sorted(set(values) ^ set(self.values))
        if differing:
            raise BadNotice(f"a mail {self.name} is made of {', '.join(sorted(self.values)) or 'no values'}: see {differing[0]}")


_KINDS = (
    Kind(
        KEY_ARCHIVED,
        "an encryption key of the person's was put into the archive",
        {
            "address": "taro@example.com",
            "serial": "3f2a9c",
            "not_after": "2027-06-01T12:00:00+00:00",
            "origin": "made",  # or "imported"
        },
        frozenset({"address"}),
    ),
    Kind(
        KEY_RENEWED,
        "a new encryption key takes the place of one that expires; it is in the archive as well",
        {
            "address": "taro@example.com",
            "serial": "4b01d7",
            "not_after": "2028-06-01T12:00:00+00:00",
            "previous_not_after": "2027-06-01T12:00:00+00:00",
        },
        frozenset({"address"}),
    ),
    Kind(
        DELIVERY_LINK,
        "a link at which the person fetches keys once",
        {
            "link": "https://pki.example.com:8444/keys/0123456789abcdef",
            "until": "2026-06-02T12:00:00+00:00",
            "device": "taro-iphone",  # "" where it is for none
            "keys": "3",
        },
        frozenset({"link", "until"}),
    ),
    Kind(
        DELIVERY_MAIL,
        "keys as a file in the mail, to be opened within Outlook",
        {"device": "taro-iphone", "keys": "3", "file": "taro.p12"},
        frozenset({"file"}),
        attached=True,
    ),
    Kind(TEST, "nothing: whether mails arrive"),
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _KINDS}


def kind_named(name: str) -> Kind:
    """Return a kind of mail.

    Raises:
        UnknownTemplate: none has this name.
    """
    if name not in KINDS:
        raise UnknownTemplate(f"there is no mail {name!r}; there are {', '.join(KINDS)}")
    return KINDS[name]
