"""Envelopes for those without an RSA key: by key agreement, and by the challenge; against OpenSSL both ways."""

import contextlib
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation import tlv
from scep import key_agreement, password_recipient
from scep.algorithms import Cipher, Digest
from scep.certificate import subject_key_identifier
from scep.client import named, throwaway_signer
from scep.envelope import Recipient, open_envelope, seal
from scep.errors import AlgorithmRefused, EnvelopeUndecryptable, MalformedMessage, ScepRefusal
from scep.key_agreement import AgreementRecipient
from scep.key_transport import RsaRecipient
from scep.password_recipient import MAX_ROUNDS, ROUNDS, PasswordRecipient
from scep.reply_envelope import open_reply
from scep.signing import Signer
from tests.foundation.ber_encoding import to_ber
from tests.scep.messages import CLIENT, RA
from tests.scep.surgery import rebuilt, walk

CONTENT = tlv.sequence(tlv.octet_string(b"content" * 40))
CHALLENGE = "swordfish-ä-swordfish"
CURVES: list[type[ec.EllipticCurve]] = [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1]
CIPHERS = [Cipher.DES3, Cipher.AES128, Cipher.AES192, Cipher.AES256]


@cache
def _holder(curve: type[ec.EllipticCurve]) -> Signer:
    key = ec.generate_private_key(curve())
    model = throwaway_signer(key, named("an EC client")).certificate
    builder = x509.CertificateBuilder(model.issuer, model.subject, key.public_key(), model.serial_number)
    builder = builder.not_valid_before(model.not_valid_before_utc).not_valid_after(model.not_valid_after_utc)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return Signer.of(builder.sign(key, hashes.SHA256()), key)


def holder(curve: type[ec.EllipticCurve] = ec.SECP256R1) -> Signer:
    """Return somebody with an EC key, always the same on each curve."""
    return _holder(curve)


def agreement(signer: Signer) -> AgreementRecipient:
    public_key = signer.certificate.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    return AgreementRecipient(public_key, signer.issuer_and_serial)


def agreed(cipher: Cipher = Cipher.AES128, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> bytes:
    return seal(CONTENT, agreement(holder(curve)), cipher)


def by_password(cipher: Cipher = Cipher.AES128) -> bytes:
    return seal(CONTENT, PasswordRecipient(CHALLENGE), cipher)


def rounds_encoded() -> bytes:
    return tlv.integer(ROUNDS)


def patched(der: bytes, old: bytes, new: bytes) -> bytes:
    """Return ``der`` with an element exchanged, which must have been there."""
    changed = rebuilt(der, old, new)
    assert changed != der
    return changed


# --- what we seal, opened by ourselves and by OpenSSL ---


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("curve", CURVES)
def test_what_is_agreed_on_opens_again(cipher: Cipher, curve: type[ec.EllipticCurve]) -> None:
    assert open_reply(agreed(cipher, curve), holder(curve)) == CONTENT


@pytest.mark.parametrize("cipher", CIPHERS)
def test_what_a_challenge_seals_opens_with_it(cipher: Cipher) -> None:
    assert open_reply(by_password(cipher), holder(), CHALLENGE) == CONTENT


def test_an_rsa_reply_opens_as_ever() -> None:
    for_rsa = RsaRecipient(CLIENT.certificate.public_key(), CLIENT.issuer_and_serial)  # type: ignore[arg-type]
    assert open_reply(seal(CONTENT, for_rsa, Cipher.AES256), CLIENT) == CONTENT


def files(tmp_path: Path, signer: Signer) -> tuple[str, str]:
    """Write what OpenSSL needs of ``signer``: certificate and key."""
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.write_bytes(signer.certificate.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        signer.private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return str(certificate), str(key)


def openssl(*arguments: str, data: bytes) -> bytes:
    done = subprocess.run(["openssl", "cms", *arguments, "-binary"], input=data, capture_output=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("curve", CURVES)
def test_openssl_opens_what_we_agree_on(cipher: Cipher, curve: type[ec.EllipticCurve], tmp_path: Path) -> None:
    certificate, key = files(tmp_path, holder(curve))
    arguments = ("-decrypt", "-inform", "DER", "-recip", certificate, "-inkey", key)
    assert openssl(*arguments, data=agreed(cipher, curve)) == CONTENT


@pytest.mark.parametrize("cipher", CIPHERS)
def test_openssl_opens_what_we_seal_with_a_challenge(cipher: Cipher) -> None:
    assert openssl("-decrypt", "-inform", "DER", "-pwri_password", CHALLENGE, data=by_password(cipher)) == CONTENT


@pytest.mark.parametrize("cipher", ["des3", "aes128", "aes192", "aes256"])
@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize(
    "options",
    [(), ("-keyopt", "ecdh_kdf_md:sha256"), ("-keyopt", "ecdh_kdf_md:sha512"), ("-keyid",), ("-stream", "-indef")],
)
def test_what_openssl_agrees_on_opens(
    cipher: str, curve: type[ec.EllipticCurve], options: tuple[str, ...], tmp_path: Path
) -> None:
    certificate, _ = files(tmp_path, holder(curve))
    arguments = ("-encrypt", "-outform", "DER", f"-{cipher}", "-aes256-wrap", "-recip", certificate, *options)
    if cipher == "des3":
        # Else OpenSSL wraps with triple DES, which nobody is to use any more.
        arguments = ("-encrypt", "-outform", "DER", "-des3", "-aes128-wrap", "-recip", certificate, *options)
    assert open_reply(openssl(*arguments, data=CONTENT), holder(curve)) == CONTENT


@pytest.mark.parametrize("cipher", ["des3", "aes128", "aes192", "aes256"])
@pytest.mark.parametrize("options", [(), ("-stream", "-indef")])
def test_what_openssl_seals_with_a_challenge_opens(cipher: str, options: tuple[str, ...]) -> None:
    arguments = ("-encrypt", "-outform", "DER", f"-{cipher}", "-pwri_password", CHALLENGE, *options)
    assert open_reply(openssl(*arguments, data=CONTENT), holder(), CHALLENGE) == CONTENT


def test_one_of_several_recipients_is_enough(tmp_path: Path) -> None:
    """Whichever it is: a server may offer both ways."""
    ours, _ = files(tmp_path, holder())
    other = tmp_path / "other"
    other.mkdir()
    theirs, _ = files(other, holder(ec.SECP384R1))
    arguments = ("-encrypt", "-outform", "DER", "-aes128", "-recip", theirs, "-recip", ours, "-pwri_password", CHALLENGE)
    der = openssl(*arguments, data=CONTENT)
    assert open_reply(der, holder()) == CONTENT
    assert open_reply(der, holder(ec.SECP384R1)) == CONTENT
    assert open_reply(der, CLIENT, CHALLENGE) == CONTENT
    with pytest.raises(ScepRefusal):
        open_reply(der, holder(ec.SECP521R1), "another challenge")


# --- the shape of what we seal ---


@pytest.mark.parametrize(
    ("recipient", "version"),
    [
        (RsaRecipient(RA.certificate.public_key(), RA.issuer_and_serial), 0),  # type: ignore[arg-type]
        (agreement(holder()), 2),
        (PasswordRecipient(CHALLENGE), 3),
    ],
)
def test_the_version_of_the_envelope_is_that_of_its_recipient(recipient: Recipient, version: int) -> None:
    """RFC 5652 section 6.1."""
    enveloped = walk(seal(CONTENT, recipient, Cipher.AES128))[3]
    assert enveloped[tlv.read(enveloped).content :].startswith(tlv.integer(version) + b"\x31")


@pytest.mark.parametrize(
    ("curve", "scheme"), [(ec.SECP256R1, "1.3.132.1.11.1"), (ec.SECP384R1, "1.3.132.1.11.2"), (ec.SECP521R1, "1.3.132.1.11.3")]
)
@pytest.mark.parametrize(
    ("cipher", "wrap"),
    [
        (Cipher.DES3, "2.16.840.1.101.3.4.1.5"),
        (Cipher.AES128, "2.16.840.1.101.3.4.1.5"),
        (Cipher.AES192, "2.16.840.1.101.3.4.1.25"),
        (Cipher.AES256, "2.16.840.1.101.3.4.1.45"),
    ],
)
def test_scheme_and_wrap_are_as_strong_as_curve_and_cipher(
    curve: type[ec.EllipticCurve], scheme: str, cipher: Cipher, wrap: str
) -> None:
    expected = tlv.sequence(tlv.object_identifier(scheme), tlv.sequence(tlv.object_identifier(wrap)))
    assert expected in walk(agreed(cipher, curve))


def test_every_envelope_has_an_ephemeral_key_of_its_own() -> None:
    points = {part for der in (agreed(), agreed()) for part in walk(der) if part[0] == tlv.BIT_STRING}
    assert len(points) == 2


def test_the_rounds_that_guard_a_challenge_are_at_least_a_hundred_thousand() -> None:
    assert 100_000 <= ROUNDS <= MAX_ROUNDS
    assert rounds_encoded() in walk(by_password())


def test_a_challenge_never_shows() -> None:
    assert "swordfish" not in repr(PasswordRecipient(CHALLENGE))
    assert b"swordfish" not in by_password()


def test_other_curves_are_no_recipients() -> None:
    key = ec.generate_private_key(ec.BrainpoolP256R1())
    assert not key_agreement.can_agree(key.public_key())
    with pytest.raises(AlgorithmRefused, match="P-256, P-384 or P-521"):
        seal(CONTENT, AgreementRecipient(key.public_key(), holder().issuer_and_serial), Cipher.AES128)
    assert key_agreement.can_agree(holder().certificate.public_key())
    assert not key_agreement.can_agree(CLIENT.certificate.public_key())


# --- the wrapping of RFC 3211 ---


@pytest.mark.parametrize("size", [8, 16, 24, 32])
@pytest.mark.parametrize("cipher", CIPHERS)
def test_a_wrapped_key_unwraps(size: int, cipher: Cipher) -> None:
    key, iv, content_key = b"k" * cipher.key_size, b"i" * cipher.block_size, bytes(range(1, size + 1))
    sealed = password_recipient.wrapped(content_key, key, iv, cipher)
    assert len(sealed) >= 2 * cipher.block_size
    assert password_recipient.unwrapped(sealed, key, iv, cipher) == content_key
    changed = bytes((sealed[0] ^ 1,)) + sealed[1:]
    with contextlib.suppress(EnvelopeUndecryptable):
        assert password_recipient.unwrapped(changed, key, iv, cipher) != content_key


@pytest.mark.parametrize(
    ("password", "rounds", "cipher", "iv", "sealed", "content_key"),
    [
        (b"password", 5, Cipher.DES, "efe598ef21b33d6d", "b81b2565ee373ca6dedca26a178b0c10", "8c627c897323a2f8"),
        (
            b"All n-entities must communicate with other n-entities via n-1 entiteeheehees",
            500,
            Cipher.DES3,
            "baf1ca7931213c4e",
            "c03c514abdb9e2c5aac038572b5e24553876b377aafb82eca5a9d73f8ab143d9ec74e6cad7db260c",
            "8c637d887223a2f965b566eb014b0fa5d52300a3f7ea40fffc577203c71baf3b",
        ),
    ],
)
def test_a_wrapped_key_unwraps_as_rfc_3211_shows(
    password: bytes, rounds: int, cipher: Cipher, iv: str, sealed: str, content_key: str
) -> None:
    """Known answers: the two examples of RFC 3211 section 3."""
    derivation = PBKDF2HMAC(Digest.SHA1.hash, cipher.key_size, bytes.fromhex("1234567878563412"), rounds)
    unwrapped = password_recipient.unwrapped(bytes.fromhex(sealed), derivation.derive(password), bytes.fromhex(iv), cipher)
    assert unwrapped.hex() == content_key


# --- what does not open ---


def _wrong_curve() -> tuple[bytes, Signer, str]:
    return agreed(), holder(ec.SECP384R1), ""


def _wrong_key() -> tuple[bytes, Signer, str]:
    return agreed(), throwaway_signer(ec.generate_private_key(ec.SECP256R1()), named("another")), ""


def _rsa_key() -> tuple[bytes, Signer, str]:
    return agreed(), CLIENT, ""


def _garbled_point() -> tuple[bytes, Signer, str]:
    der = agreed()
    point = next(part for part in walk(der) if part[0] == tlv.BIT_STRING)
    return patched(der, point, tlv.bit_string(b"\x04" + bytes(64))), holder(), ""


def _no_point() -> tuple[bytes, Signer, str]:
    der = agreed()
    return patched(der, next(part for part in walk(der) if part[0] == tlv.BIT_STRING), tlv.bit_string(b"\x00")), holder(), ""


def _garbled_wrapped_key() -> tuple[bytes, Signer, str]:
    der = agreed()
    encrypted_key = next(part for part in walk(der) if part[0] == tlv.OCTET_STRING and len(part) == 26)
    return patched(der, encrypted_key, tlv.octet_string(bytes(24))), holder(), ""


def _key_of_another_length() -> tuple[bytes, Signer, str]:
    der = agreed()
    encrypted_key = next(part for part in walk(der) if part[0] == tlv.OCTET_STRING and len(part) == 26)
    return patched(der, encrypted_key, tlv.octet_string(aes_key_wrap(bytes(16), bytes(24)))), holder(), ""


def _wrong_challenge() -> tuple[bytes, Signer, str]:
    return by_password(), holder(), CHALLENGE + "!"


def _short_wrapped_key() -> tuple[bytes, Signer, str]:
    der = by_password()
    encrypted_key = next(part for part in walk(der) if part[0] == tlv.OCTET_STRING and len(part) == 34)
    return patched(der, encrypted_key, tlv.octet_string(bytes(16))), holder(), CHALLENGE


def _another_key_length() -> tuple[bytes, Signer, str]:
    der = by_password()
    parameters = next(part for part in walk(der) if part[0] == tlv.SEQUENCE and rounds_encoded() in part and len(part) < 50)
    inner = parameters[2:].replace(rounds_encoded(), rounds_encoded() + tlv.integer(24))
    return patched(der, parameters, tlv.sequence(inner)), holder(), CHALLENGE


@pytest.mark.parametrize(
    "case",
    [
        _wrong_curve,
        _wrong_key,
        _rsa_key,
        _garbled_point,
        _no_point,
        _garbled_wrapped_key,
        _key_of_another_length,
        _wrong_challenge,
        _short_wrapped_key,
        _another_key_length,
    ],
)
def test_every_envelope_that_does_not_open_gets_the_same_answer(case: Callable[[], tuple[bytes, Signer, str]]) -> None:
    der, signer, challenge = case()
    with pytest.raises(EnvelopeUndecryptable) as caught:
        open_reply(der, signer, challenge)
    assert str(caught.value) == "the envelope cannot be decrypted, or holds no certificate request that verifies"


@pytest.mark.parametrize("rounds", [0, -1, MAX_ROUNDS + 1, 2**200])
def test_rounds_beyond_the_bound_are_refused_before_they_are_run(rounds: int) -> None:
    with pytest.raises(AlgorithmRefused, match="beyond all bounds"):
        open_reply(patched(by_password(), rounds_encoded(), tlv.integer(rounds)), holder(), CHALLENGE)


def test_a_salt_beyond_the_bound_is_refused() -> None:
    der = by_password()
    derivation = next(part for part in walk(der) if part.startswith(b"\x30") and rounds_encoded() in part and len(part) < 50)
    salt = derivation[2:20]
    with pytest.raises(AlgorithmRefused, match="beyond all bounds"):
        open_reply(patched(der, salt, tlv.octet_string(bytes(257))), holder(), CHALLENGE)


def test_keying_material_beyond_the_bound_is_refused() -> None:
    der = agreed()
    scheme = next(part for part in walk(der) if part[:1] == b"\x30" and part[2:4] == b"\x06\x06" and len(part) > 20)
    outer = next(part for part in walk(der) if part[0] == key_agreement.RECIPIENT_TAG)
    changed = outer.replace(scheme, tlv.explicit(1, tlv.octet_string(bytes(1025))) + scheme)
    inner = changed[tlv.read(outer).content :]
    with pytest.raises(MalformedMessage, match="beyond all bounds"):
        open_reply(patched(der, outer, tlv.tlv(key_agreement.RECIPIENT_TAG, inner)), holder())


@pytest.mark.parametrize(
    ("old", "new"),
    [("1.3.132.1.11.1", "1.3.132.1.14.1"), ("2.16.840.1.101.3.4.1.5", "1.2.840.113549.1.9.16.3.6")],
    ids=["cofactor Diffie-Hellman", "a triple DES wrap"],
)
def test_other_agreements_are_bad_algorithms(old: str, new: str) -> None:
    with pytest.raises(AlgorithmRefused, match="key agreement is not accepted"):
        open_reply(patched(agreed(), tlv.object_identifier(old), tlv.object_identifier(new)), holder())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1.2.840.113549.1.5.12", "1.3.6.1.4.1.11591.4.11"),
        ("1.2.840.113549.2.9", "1.2.840.113549.2.5"),
        ("1.2.840.113549.1.9.16.3.9", "2.16.840.1.101.3.4.1.5"),
    ],
    ids=["scrypt", "HMAC with MD5", "a wrap that is not RFC 3211's"],
)
def test_other_derivations_are_bad_algorithms(old: str, new: str) -> None:
    with pytest.raises(AlgorithmRefused, match="is not accepted"):
        open_reply(patched(by_password(), tlv.object_identifier(old), tlv.object_identifier(new)), holder(), CHALLENGE)


def test_an_originator_without_an_ephemeral_key_is_refused() -> None:
    der = agreed()
    originator = next(part for part in walk(der) if part[0] == 0xA1 and b"\x03\x42" in part and len(part) < 90)
    static = patched(der, originator, tlv.tlv(0x80, subject_key_identifier(holder().certificate)))
    with pytest.raises(AlgorithmRefused, match="ephemeral"):
        open_reply(static, holder())


def test_a_challenge_that_is_not_known_opens_nothing() -> None:
    with pytest.raises(AlgorithmRefused, match="neither for our key nor for our challenge"):
        open_reply(by_password(), holder())


def test_the_service_opens_rsa_envelopes_only() -> None:
    """Nobody makes it agree on keys, or derive them from passwords."""
    for der in (agreed(), by_password()):
        with pytest.raises(AlgorithmRefused, match="no recipient with RSA"):
            open_envelope(der, [RA])


@pytest.mark.parametrize("der", [agreed(), by_password()])
def test_ber_opens(der: bytes) -> None:
    assert open_reply(to_ber(der, segment=64, implicit=True), holder(), CHALLENGE) == CONTENT


AGREED, BY_PASSWORD = agreed(), by_password()


@settings(max_examples=150)
@given(st.integers(0, 400), st.integers(1, 255))
def test_a_changed_byte_raises_declared_errors_only(position: int, change: int) -> None:
    der = bytearray(AGREED)
    der[position % len(der)] ^= change
    with contextlib.suppress(ScepRefusal):
        open_reply(bytes(der), holder())


@settings(max_examples=60)
@given(st.integers(0, 200), st.integers(1, 255))
def test_a_changed_byte_of_a_password_recipient_raises_declared_errors_only(position: int, change: int) -> None:
    der = bytearray(BY_PASSWORD)
    der[position % len(der)] ^= change
    with contextlib.suppress(ScepRefusal):
        open_reply(bytes(der), holder(), CHALLENGE)
