"""What is signed is what was intended: serial, validity, extensions, signature; and the proof of that notices otherwise."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from ca import certificate as module
from ca.authorisation import ProfileName
from ca.authority_certificates import authority_name
from ca.certificate import (
    BACKDATING,
    BuiltCertificate,
    IssuanceDefect,
    key_identifier,
    new_serial,
    spki_sha256,
    validity_period,
)
from ca.issuance import IssuingAuthority
from ca.keys import KeyAlgorithm, PrivateKey
from ca.tbs import Intent
from foundation import tlv
from tests.ca.authorities import NOW, make_root
from tests.ca.keystores import shared_key

WHOLE_SECONDS = st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 - Hypothesis wants them naive
    lambda time: time.replace(microsecond=0)
)


def intent(**changes: Any) -> Intent:  # noqa: ANN401 - fields of any type
    """Return an intent for a key of ours, with ``changes``."""
    name = authority_name("Example", None)
    plain = Intent(
        profile=ProfileName("identity"),
        issuer=name,
        subject=name,
        public_key=shared_key(KeyAlgorithm.P256).public_key(),
        not_before=NOW,
        not_after=NOW + timedelta(days=1),
        extensions=((x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.2.3")]), False),),
    )
    return replace(plain, **changes)


def sign(meant: Intent, key: PrivateKey) -> BuiltCertificate:
    """Sign with a whole key pair."""
    return module.sign(meant, key, key.public_key())


def test_serials_are_16_bytes_positive_and_never_the_same() -> None:
    serials = [new_serial() for _ in range(2000)]
    assert len(set(serials)) == len(serials)
    assert all(len(tlv.integer(serial)) == 18 for serial in serials)
    # Every one of the 126 random bits is set in some and clear in others.
    assert all(len({serial >> bit & 1 for serial in serials}) == 2 for bit in range(126))


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.RSA2048, KeyAlgorithm.P256, KeyAlgorithm.P384, KeyAlgorithm.P521])
def test_the_certificate_says_what_was_intended(algorithm: KeyAlgorithm) -> None:
    built = sign(intent(), shared_key(algorithm))
    certificate = x509.load_der_x509_certificate(built.der)
    assert f"{certificate.serial_number:032x}" == built.serial
    assert certificate.subject.rfc4514_string() == built.subject == "CN=Example"
    assert (certificate.not_valid_before_utc, certificate.not_valid_after_utc) == (built.not_before, built.not_after)
    assert built.spki_sha256 == spki_sha256(certificate.public_key())  # type: ignore[arg-type]
    assert certificate.version is x509.Version.v3


@given(st.tuples(WHOLE_SECONDS, WHOLE_SECONDS).filter(lambda times: times[0] != times[1]).map(sorted))
@settings(max_examples=50)
def test_any_times_are_encoded_as_rfc_5280_wants_them(times: list[datetime]) -> None:
    built = sign(intent(not_before=times[0], not_after=times[1]), shared_key(KeyAlgorithm.P256))
    tbs = tlv.children(built.der, tlv.children(built.der, tlv.read(built.der))[0])
    validity = tlv.children(built.der, tbs[4])
    for time, element in zip(times, validity, strict=True):
        # UTCTime through 2049, GeneralizedTime from 2050 on (section 4.1.2.5).
        expected = (
            (tlv.UTC_TIME, f"{time:%y%m%d%H%M%S}Z") if time.year < 2050 else (tlv.GENERALIZED_TIME, f"{time:%Y%m%d%H%M%S}Z")
        )
        assert (element.tag, built.der[element.content : element.end].decode()) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"subject": authority_name("Somebody else", None)},
        {"issuer": authority_name("Somebody else", None)},
        {"public_key": shared_key(KeyAlgorithm.P384).public_key()},
        {"not_after": NOW + timedelta(days=2)},
        {"not_before": NOW - timedelta(days=2)},
        {"extensions": ()},
        {"extensions": ((x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.2.4")]), False),)},
        {"extensions": ((x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.2.3")]), True),)},
    ],
)
def test_a_certificate_that_says_anything_else_is_noticed(change: dict[str, Any]) -> None:
    key = shared_key(KeyAlgorithm.P256)
    built = sign(intent(), key)
    serial = int(built.serial, 16)
    module._prove(built.der, serial, intent(), key.public_key())  # noqa: SLF001 - the check itself is under test
    with pytest.raises(IssuanceDefect):
        module._prove(built.der, serial, intent(**change), key.public_key())  # noqa: SLF001
    with pytest.raises(IssuanceDefect):
        module._prove(built.der, serial + 1, intent(), key.public_key())  # noqa: SLF001


def test_a_signature_that_does_not_verify_is_noticed() -> None:
    built = sign(intent(), shared_key(KeyAlgorithm.RSA2048))
    spoiled = built.der[:-1] + bytes([built.der[-1] ^ 1])
    with pytest.raises(IssuanceDefect, match="does not verify"):
        module._prove(spoiled, int(built.serial, 16), intent(), shared_key(KeyAlgorithm.RSA2048).public_key())  # noqa: SLF001


def test_a_predictable_serial_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "new_serial", lambda: 4711)
    with pytest.raises(IssuanceDefect, match="serial"):
        sign(intent(), shared_key(KeyAlgorithm.P256))


def test_a_validity_without_length_is_noticed() -> None:
    with pytest.raises((IssuanceDefect, ValueError)):
        sign(intent(not_after=NOW), shared_key(KeyAlgorithm.P256))


@pytest.fixture
def issuer() -> IssuingAuthority:
    return make_root(shared_key(KeyAlgorithm.P256, 1))


def test_validity_is_backdated_and_counts_both_ends(issuer: IssuingAuthority) -> None:
    later = NOW + timedelta(days=1, microseconds=123456)
    not_before, not_after = validity_period(later, timedelta(days=365), issuer=issuer.certificate)
    assert not_before == later.replace(microsecond=0) - BACKDATING
    assert not_after - not_before == timedelta(days=365, seconds=-1)


@given(
    st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=7299)),
    st.timedeltas(timedelta(seconds=2), timedelta(days=9000)),
)
def test_validity_never_leaves_the_issuers(age: timedelta, length: timedelta) -> None:
    certificate = make_root(shared_key(KeyAlgorithm.P256, 1)).certificate
    not_before, not_after = validity_period(NOW + age, length, issuer=certificate)
    assert certificate.not_valid_before_utc <= not_before < not_after <= certificate.not_valid_after_utc
    assert not_after - not_before < length
    assert not not_before.microsecond
    assert not not_after.microsecond


@pytest.mark.parametrize("seconds", [10, 60, 300, 3600])
def test_a_short_life_is_not_over_before_it_begins(issuer: IssuingAuthority, seconds: int) -> None:
    now = NOW + timedelta(days=1)
    not_before, not_after = validity_period(now, timedelta(seconds=seconds), issuer=issuer.certificate)
    assert not_before < now < not_after


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.RSA2048, KeyAlgorithm.P256, KeyAlgorithm.ED25519])
def test_a_key_identifier_is_the_left_of_sha_256_over_the_key_bits(algorithm: KeyAlgorithm) -> None:
    key = shared_key(algorithm).public_key()
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    bits = tlv.children(spki, tlv.read(spki))[1]
    assert key_identifier(key) == hashlib.sha256(spki[bits.content + 1 : bits.end]).digest()[:20]


class HardwareKey(rsa.RSAPrivateKey):
    """A key of another implementation than cryptography's own, as an HSM's is: it can sign, and its numbers stay inside."""

    def __init__(self, inside: PrivateKey) -> None:
        assert isinstance(inside, rsa.RSAPrivateKey)
        self._inside = inside
        self.signatures = 0

    def sign(self, data: object, padding: object, algorithm: object) -> bytes:
        """Sign, and count it."""
        self.signatures += 1
        return self._inside.sign(data, padding, algorithm)  # type: ignore[arg-type]

    def public_key(self) -> rsa.RSAPublicKey:
        """Return the public half."""
        return self._inside.public_key()

    @property
    def key_size(self) -> int:
        """Return the length in bits."""
        return self._inside.key_size

    def decrypt(self, ciphertext: object, padding: object) -> bytes:
        """Not needed here."""
        raise NotImplementedError

    def private_numbers(self) -> rsa.RSAPrivateNumbers:
        """Never leave the hardware."""
        raise NotImplementedError

    def private_bytes(self, encoding: object, format: object, encryption_algorithm: object) -> bytes:  # noqa: A002 - the interface's name
        """Never leave the hardware."""
        raise NotImplementedError

    def __copy__(self) -> "HardwareKey":
        return self

    def __deepcopy__(self, memo: object) -> "HardwareKey":
        return self


def test_a_key_in_hardware_signs_and_does_so_once() -> None:
    key = HardwareKey(shared_key(KeyAlgorithm.RSA2048))
    built = sign(intent(), key)
    assert key.signatures == 1
    assert x509.load_der_x509_certificate(built.der).signature_hash_algorithm is not None
