"""The operating system's roots: which of them are trusted for mail."""

from typing import Any

import pytest
from cryptography import x509
from oscrypto import trust_list
from oscrypto.errors import CACertsError

from pkcs_import.system_roots import system_roots

_MAIL, _SERVERS, _ANY = "1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.1", "2.5.29.37.0"


class Root:
    """A certificate as the library gives it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def dump(self) -> bytes:
        """Return it as DER."""
        return self._name.encode()


def test_this_machine_has_roots() -> None:
    found = system_roots()
    assert len(found) > 50
    assert x509.load_der_x509_certificate(found[-1]).subject


def test_roots_that_are_not_trusted_for_mail_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    entries: list[tuple[Any, set[str], set[str]]] = [
        (Root("of nothing special"), set(), set()),
        (Root("for mail"), {_MAIL, _SERVERS}, set()),
        (Root("for anything"), {_ANY}, set()),
        (Root("for servers"), {_SERVERS}, set()),
        (Root("not for mail"), set(), {_MAIL}),
        (Root("not for servers"), set(), {_SERVERS}),
    ]
    monkeypatch.setattr(trust_list, "get_list", lambda: entries)
    assert system_roots() == [b"of nothing special", b"for mail", b"for anything", b"not for servers"]


@pytest.mark.parametrize("error", [OSError("there is no list"), CACertsError("it cannot be read")])
def test_a_machine_without_a_list_trusts_nobody(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails() -> list[Any]:
        raise error

    monkeypatch.setattr(trust_list, "get_list", fails)
    assert system_roots() == []
