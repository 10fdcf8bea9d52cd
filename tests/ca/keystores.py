"""A key store for tests: in memory, and with keys that are made once for all tests."""

from functools import cache

from ca.errors import KeyExists, KeyUnavailable
from ca.keys import KeyAlgorithm, KeyStore, PrivateKey, generate_key


@cache
def shared_key(algorithm: KeyAlgorithm, which: int = 0) -> PrivateKey:  # noqa: ARG001 - part of the cache's key
    """Return a key of ``algorithm``, the same one for the same ``which`` throughout the test run."""
    return generate_key(algorithm)


class MemoryKeyStore(KeyStore):
    """Keeps shared keys under references; ``kept`` is open to tests."""

    def __init__(self) -> None:
        self.kept: dict[str, PrivateKey] = {}

    def generate(self, reference: str, algorithm: KeyAlgorithm) -> PrivateKey:
        """Keep the next shared key of ``algorithm``."""
        if reference in self.kept:
            raise KeyExists(reference)
        self.kept[reference] = shared_key(algorithm, len(self.kept))
        return self.kept[reference]

    def load(self, reference: str) -> PrivateKey:
        """Return a kept key."""
        if reference not in self.kept:
            raise KeyUnavailable(reference)
        return self.kept[reference]

    def exists(self, reference: str) -> bool:
        """Say whether there is one."""
        return reference in self.kept
