"""Authorities over keys that are made once."""

import pytest

from ca.issuance import IssuingAuthority
from ca.keys import KeyAlgorithm
from tests.ca.authorities import make_issuing, make_root
from tests.ca.keystores import MemoryKeyStore, shared_key


@pytest.fixture(scope="session")
def ec_root() -> IssuingAuthority:
    """A root with a P-384 key."""
    return make_root(shared_key(KeyAlgorithm.P384, 100))


@pytest.fixture(scope="session")
def ec_issuing(ec_root: IssuingAuthority) -> IssuingAuthority:
    """An issuing CA with a P-256 key, under the P-384 root."""
    return make_issuing(ec_root, shared_key(KeyAlgorithm.P256, 100))


@pytest.fixture(scope="session")
def rsa_root() -> IssuingAuthority:
    """A root with an RSA key."""
    return make_root(shared_key(KeyAlgorithm.RSA2048, 100))


@pytest.fixture(scope="session")
def rsa_issuing(rsa_root: IssuingAuthority) -> IssuingAuthority:
    """An issuing CA with an RSA key, under the RSA root."""
    return make_issuing(rsa_root, shared_key(KeyAlgorithm.RSA2048, 101))


@pytest.fixture
def keystore() -> MemoryKeyStore:
    """An empty key store."""
    return MemoryKeyStore()
