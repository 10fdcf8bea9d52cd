"""How much work a file may ask for: read before any of it is done."""

from typing import Final

from pkcs_import.errors import ContainerTooSlow, NotPkcs12

MAX_ITERATIONS: Final = 1_000_000
"""The iterations of one derivation, at most."""

MAX_EFFORT: Final = 60_000_000
"""What all derivations of a file may cost, in iterations of PBKDF2: some ten seconds.

Mozilla's programs do 600,000 iterations for each key: that is near a hundred keys with PBES2, and eight in 3DES.
"""

PBKDF2_COST: Final = 1
"""What an iteration of PBKDF2 costs for each digest that it yields, with SHA-1 or SHA-256: the unit. SHA-512 costs twice that."""

PKCS12_COST: Final = 4
"""What an iteration of the derivation of RFC 7292 costs, as it is done in Python."""


class Effort:
    """What a file may still ask for."""

    def __init__(self, limit: int = MAX_EFFORT) -> None:
        self._left = limit

    def spend(self, cost: int) -> None:
        """Take note of a derivation that is about to be done.

        Raises:
            ContainerTooSlow: that is too much.
        """
        self._left -= cost
        if self._left < 0:
            raise ContainerTooSlow("the file asks for more iterations, all its keys taken together, than are done")


def bounded(iterations: int) -> int:
    """Return ``iterations`` as they stand in a file.

    Raises:
        NotPkcs12: there are none.
        ContainerTooSlow: there are more than MAX_ITERATIONS.
    """
    if iterations < 1:
        raise NotPkcs12("the file is damaged: it asks for a key derivation of no iterations")
    if iterations > MAX_ITERATIONS:
        raise ContainerTooSlow(f"the file asks for {iterations} iterations; {MAX_ITERATIONS} are done at most")
    return iterations
