"""Which public keys may be certified: family, length, and what is known to be weak.

Sources: S/MIME baseline requirements 6.1.5 and 6.1.6; ROCA: Nemec et al., "The Return of Coppersmith's Attack" (CVE-2017-15361);
close primes: Böck, "Fermat Factorization in the Wild" (CVE-2022-26320). The keys of Debian's broken random numbers
(CVE-2008-0166) are out of reach: knowing them takes a list of some hundred thousand moduli.
"""

import math
from collections.abc import Collection
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ca.errors import WeakKey
from ca.profiles import KeyFamily, key_family

MINIMUM_RSA_BITS = 2048
MAXIMUM_RSA_BITS = 8192
MINIMUM_EXPONENT = 65537
MAXIMUM_EXPONENT_BITS = 256
FERMAT_ROUNDS = 100
SMALL_FACTOR_LIMIT = 1000
CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})


def check_public_key(key: object, allowed: Collection[KeyFamily]) -> None:
    """Refuse a key that may not be certified: of another family than ``allowed``, too short, or known to be weak.

    Raises:
        WeakKey: the message says why, in words for the requester.
    """
    family = key_family(key)
    if family is None or family not in allowed:
        raise WeakKey(f"the public key must be one of: {', '.join(sorted(allowed))}")
    if isinstance(key, rsa.RSAPublicKey):
        _check_rsa(key)
    elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in CURVES:
        raise WeakKey("the elliptic curve must be P-256, P-384 or P-521")


def is_costly(key: rsa.RSAPublicKey) -> bool:
    """Say whether a signature under ``key`` takes long to verify: a huge modulus or exponent is a cheap way to keep us busy."""
    return key.key_size > MAXIMUM_RSA_BITS or key.public_numbers().e.bit_length() > MAXIMUM_EXPONENT_BITS


def _check_rsa(key: rsa.RSAPublicKey) -> None:
    if not MINIMUM_RSA_BITS <= key.key_size <= MAXIMUM_RSA_BITS or key.key_size % 8:
        raise WeakKey(f"the RSA key must have {MINIMUM_RSA_BITS} to {MAXIMUM_RSA_BITS} bits, a multiple of 8")
    numbers = key.public_numbers()
    exponent, modulus = numbers.e, numbers.n
    if exponent < MINIMUM_EXPONENT or exponent % 2 == 0 or exponent.bit_length() > MAXIMUM_EXPONENT_BITS:
        raise WeakKey(f"the RSA exponent must be odd, at least {MINIMUM_EXPONENT} and below 2^{MAXIMUM_EXPONENT_BITS}")
    if math.gcd(modulus, _SMALL_PRIMES_PRODUCT) != 1:
        raise WeakKey("the RSA modulus has a small factor")
    if _has_roca_fingerprint(modulus):
        raise WeakKey("the RSA key was made by a faulty key generator (ROCA, CVE-2017-15361)")
    if _has_close_primes(modulus):
        raise WeakKey("the RSA modulus has two primes that lie too close together (CVE-2022-26320)")


def _primes_below(limit: int) -> list[int]:
    return [n for n in range(2, limit) if all(n % d for d in range(2, math.isqrt(n) + 1))]


def _powers(base: int, modulus: int) -> frozenset[int]:
    """Return the subgroup that ``base`` generates modulo the prime ``modulus``."""
    power, seen = 1, set[int]()
    while power not in seen:
        seen.add(power)
        power = power * base % modulus
    return frozenset(seen)


_SMALL_PRIMES_PRODUCT = math.prod(_primes_below(SMALL_FACTOR_LIMIT))

# The faulty generator made both primes, and so the modulus, a power of 65537 modulo each of these primes. Primes for which
# every residue is such a power tell nothing and are left out; a sound key passes for a faulty one once in 2^27.
_ROCA_SUBGROUPS = [(prime, powers) for prime in _primes_below(168)[1:] if len(powers := _powers(65537, prime)) < prime - 1]
_ROCA_PRODUCT = math.prod(prime for prime, _ in _ROCA_SUBGROUPS)


def _has_roca_fingerprint(modulus: int) -> bool:
    residue = modulus % _ROCA_PRODUCT
    return all(residue % prime in powers for prime, powers in _ROCA_SUBGROUPS)


# A square leaves few residues modulo each of these; where a difference leaves another one, it is none, whatever its size.
_SIEVE = (64, 9, 5, 7, 11, 13)
_ALL_STEPS = (1 << FERMAT_ROUNDS) - 1


@cache
def _possible_steps(modulus: int, start: int, residue: int) -> int:
    """Return the steps after which (start + step)² - residue may be a square, modulo ``modulus``: a bit for each of them."""
    squares = {n * n % modulus for n in range(modulus)}
    return sum(1 << step for step in range(FERMAT_ROUNDS) if ((start + step) ** 2 - residue) % modulus in squares)


def _has_close_primes(modulus: int) -> bool:
    """Try Fermat's factorisation: modulus = a² - b² for an a from its square root upwards."""
    start = math.isqrt(modulus - 1) + 1
    steps = _ALL_STEPS
    for small in _SIEVE:
        steps &= _possible_steps(small, start % small, modulus % small)
    # Of a hundred less than one is left, mostly.
    while steps:
        step = (steps & -steps).bit_length() - 1
        difference = (start + step) ** 2 - modulus
        if math.isqrt(difference) ** 2 == difference:
            return True
        steps &= steps - 1
    return False
