"""Public keys that may not be certified, and those that may."""

import math
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from hypothesis import given
from hypothesis import strategies as st

from ca.errors import WeakKey
from ca.key_policy import check_public_key
from ca.keys import KeyAlgorithm
from ca.profiles import KeyFamily
from tests.ca.keystores import shared_key

ALL = tuple(KeyFamily)
GOOD = (KeyAlgorithm.RSA2048, KeyAlgorithm.RSA3072, KeyAlgorithm.P256, KeyAlgorithm.P384, KeyAlgorithm.P521, KeyAlgorithm.ED25519)


def rsa_public_key(modulus: int, exponent: int = 65537) -> rsa.RSAPublicKey:
    """Return a public key of these numbers."""
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def sound_modulus() -> int:
    """Return the modulus of a sound RSA-2048 key."""
    key = shared_key(KeyAlgorithm.RSA2048)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.public_key().public_numbers().n


def next_prime(start: int) -> int:
    """Return the first probable prime from ``start`` on (Miller and Rabin with fixed bases)."""
    candidate = start | 1
    while any(candidate % prime == 0 for prime in range(3, 2000, 2)) or not probably_prime(candidate):
        candidate += 2
    return candidate


def probably_prime(number: int) -> bool:
    """Say whether ``number`` passes Fermat's test for some bases, which is enough for a test's own keys."""
    return all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7))


@pytest.mark.parametrize("algorithm", GOOD)
def test_sound_keys_pass(algorithm: KeyAlgorithm) -> None:
    check_public_key(shared_key(algorithm).public_key(), ALL)


@pytest.mark.parametrize("bits", [1024, 2040])
def test_short_rsa_keys_are_refused(bits: int) -> None:
    with pytest.raises(WeakKey, match="2048 to 8192"):
        check_public_key(rsa.generate_private_key(65537, bits).public_key(), ALL)


def test_rsa_lengths_must_be_a_multiple_of_8_and_bounded() -> None:
    for modulus in (sound_modulus() << 1 | 1, (1 << 8200) | 1):
        with pytest.raises(WeakKey, match="2048 to 8192"):
            check_public_key(rsa_public_key(modulus), ALL)


@pytest.mark.parametrize("exponent", [3, 17, 65535, (1 << 256) + 1])
def test_exponents_out_of_bounds_are_refused(exponent: int) -> None:
    with pytest.raises(WeakKey, match="exponent"):
        check_public_key(rsa_public_key(sound_modulus(), exponent), ALL)


@pytest.mark.parametrize("factor", [3, 7, 751, 997])
def test_a_small_factor_is_found(factor: int) -> None:
    modulus = sound_modulus()
    multiple = factor * (modulus // factor)
    multiple += 0 if multiple % 2 else factor
    with pytest.raises(WeakKey, match="small factor"):
        check_public_key(rsa_public_key(multiple), ALL)


def test_a_key_of_the_faulty_generator_is_found() -> None:
    # Both primes are k·M + (65537^a mod M), M the product of the first primes, as Infineon's library made them.
    primorial = math.prod(prime for prime in range(2, 702) if all(prime % d for d in range(2, prime)))
    factors = []
    for power in (1234567, 7654321):
        residue = pow(65537, power, primorial)
        k = (3 << 1022) // primorial
        while not probably_prime(k * primorial + residue):
            k += 1
        factors.append(k * primorial + residue)
    key = rsa_public_key(factors[0] * factors[1])
    assert key.key_size == 2048
    with pytest.raises(WeakKey, match="ROCA"):
        check_public_key(key, ALL)


@pytest.mark.parametrize("distance", [2, 1 << 200, 1 << 512])
def test_primes_that_lie_close_together_are_found(distance: int) -> None:
    first = next_prime((3 << 1022) + 12345)
    with pytest.raises(WeakKey, match="close together"):
        check_public_key(rsa_public_key(first * next_prime(first + distance)), ALL)


def test_the_square_of_a_prime_is_found() -> None:
    prime = next_prime((3 << 1022) + 12345)
    with pytest.raises(WeakKey, match="close together"):
        check_public_key(rsa_public_key(prime * prime), ALL)


@pytest.mark.parametrize("steps", [1, 37, 98])
def test_close_primes_are_found_in_any_of_the_first_hundred_steps(steps: int) -> None:
    # For p and q a distance d apart, a lies d² / 8√n above the square root: d for the wanted number of steps.
    first = next_prime((3 << 1022) + 12345)
    second = next_prime(first + math.isqrt(8 * first * steps))
    assert (first + second) // 2 - math.isqrt(first * second) in range(steps - 1, steps + 2)
    with pytest.raises(WeakKey, match="close together"):
        check_public_key(rsa_public_key(first * second), ALL)


@pytest.mark.parametrize("curve", [ec.SECP256K1(), ec.SECP224R1(), ec.BrainpoolP256R1()])
def test_other_curves_are_refused(curve: ec.EllipticCurve) -> None:
    with pytest.raises(WeakKey, match="P-256, P-384 or P-521"):
        check_public_key(ec.generate_private_key(curve).public_key(), ALL)


def test_families_the_profile_does_not_name_are_refused() -> None:
    with pytest.raises(WeakKey, match="one of: EC, RSA"):
        check_public_key(shared_key(KeyAlgorithm.ED25519).public_key(), (KeyFamily.RSA, KeyFamily.EC))
    with pytest.raises(WeakKey):
        check_public_key(ed448.Ed448PrivateKey.generate().public_key(), ALL)
    with pytest.raises(WeakKey):
        check_public_key(object(), ALL)


@given(st.integers(min_value=(1 << 2047) | 1, max_value=(1 << 2048) - 1))
def test_any_modulus_is_judged_and_only_refused_as_weak(modulus: int) -> None:
    with suppress(WeakKey):
        check_public_key(rsa_public_key(modulus | 1), ALL)
