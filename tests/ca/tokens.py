"""The key store in a token, for tests."""

from collections.abc import Iterator
from contextlib import contextmanager

from ca.pkcs11 import Pkcs11KeyStore
from ca.pkcs11_pin import PinFile
from ca.pkcs11_session import TokenLocation
from tests.softhsm import LABEL, MODULE, SoftHsm


def keystore_in(softhsm: SoftHsm, label: str = LABEL) -> Pkcs11KeyStore:
    """Return a key store in a token; close it."""
    pin = PinFile(softhsm.pin_file, softhsm.directory / "run" / "pin-refused")
    return Pkcs11KeyStore(TokenLocation(MODULE, label, pin))


@contextmanager
def opened(softhsm: SoftHsm, label: str = LABEL) -> Iterator[Pkcs11KeyStore]:
    """Yield a key store in a token."""
    keystore = keystore_in(softhsm, label)
    try:
        yield keystore
    finally:
        keystore.close()
