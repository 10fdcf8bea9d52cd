"""EnvelopedData: opened, sealed, and silent about why it does not open."""

import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher as CipherContext
from cryptography.hazmat.primitives.ciphers import modes
from cryptography.hazmat.primitives.padding import PKCS7
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation import tlv
from scep import envelope
from scep.algorithms import PKCS1_V15, Cipher, Digest, KeyTransport
from scep.certificate import subject_key_identifier
from scep.envelope import open_envelope, seal
from scep.errors import AlgorithmRefused, EnvelopeUndecryptable, MalformedMessage, ScepRefusal
from scep.key_transport import RsaRecipient
from scep.signing import Signer
from tests.foundation.ber_encoding import to_ber
from tests.scep.messages import CA, CLIENT, RA
from tests.scep.surgery import rebuilt, walk
from tests.vectors.scep.capture import key

CONTENT = tlv.sequence(tlv.octet_string(b"content" * 40))
RA_PUBLIC_KEY = key("ra").public_key()
TRANSPORTS = [
    PKCS1_V15,
    KeyTransport(oaep=Digest.SHA1),
    KeyTransport(oaep=Digest.SHA256),
    KeyTransport(oaep=Digest.SHA256, mgf=Digest.SHA256),
    KeyTransport(oaep=Digest.SHA512, mgf=Digest.SHA1, label=b"label"),
]


def sealed(cipher: Cipher = Cipher.AES128, transport: KeyTransport = PKCS1_V15, content: bytes = CONTENT) -> bytes:
    return seal(content, RsaRecipient(RA_PUBLIC_KEY, RA.issuer_and_serial, transport), cipher)


@pytest.mark.parametrize("cipher", list(Cipher))
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_cipher_and_key_transport_opens_again(cipher: Cipher, transport: KeyTransport) -> None:
    opened = open_envelope(sealed(cipher, transport), [RA])
    assert (opened.content, opened.cipher, opened.key_transport) == (CONTENT, cipher, transport)


def test_single_des_is_triple_des_with_three_equal_keys() -> None:
    """Known answer: FIPS 81's worked example of DES."""
    encryptor = CipherContext(Cipher.DES.keyed(bytes.fromhex("0123456789abcdef")), modes.ECB()).encryptor()  # noqa: S305
    assert encryptor.update(b"Now is t").hex() == "3fa40e8a984d4815"


def test_ber_with_segmented_content_opens() -> None:
    assert open_envelope(to_ber(sealed(), segment=64, implicit=True), [RA]).content == CONTENT


def test_a_definite_constructed_content_opens() -> None:
    """As micromdm sends it."""
    der = sealed()
    encrypted = next(part for part in walk(der) if part[0] == 0x80 and len(part) > 64)
    constructed = tlv.tlv(0xA0, tlv.octet_string(encrypted[tlv.read(encrypted).content :]))
    assert open_envelope(rebuilt(der, encrypted, constructed), [RA]).content == CONTENT


def test_oaep_parameters_that_are_all_absent_mean_sha1() -> None:
    der = sealed(transport=KeyTransport(oaep=Digest.SHA1))
    identifier = tlv.object_identifier("1.2.840.113549.1.1.7")
    bare = rebuilt(der, tlv.sequence(identifier, tlv.sequence()), tlv.sequence(identifier))
    assert bare != der
    assert open_envelope(bare, [RA]).key_transport == KeyTransport(oaep=Digest.SHA1)


def test_oaep_defaults_written_out_are_understood() -> None:
    der = sealed(transport=KeyTransport(oaep=Digest.SHA1))
    identifier = tlv.object_identifier("1.2.840.113549.1.1.7")
    sha1 = tlv.sequence(tlv.object_identifier("1.3.14.3.2.26"), tlv.null())
    mgf = tlv.sequence(tlv.object_identifier("1.2.840.113549.1.1.8"), sha1)
    source = tlv.sequence(tlv.object_identifier("1.2.840.113549.1.1.9"), tlv.octet_string(b""))
    full = tlv.sequence(tlv.explicit(0, sha1), tlv.explicit(1, mgf), tlv.explicit(2, source))
    written = rebuilt(der, tlv.sequence(identifier, tlv.sequence()), tlv.sequence(identifier, full))
    assert written != der
    assert open_envelope(written, [RA]).key_transport == KeyTransport(oaep=Digest.SHA1)


def test_the_recipient_may_be_named_by_its_key_identifier() -> None:
    by_key = rebuilt(sealed(), RA.issuer_and_serial, tlv.tlv(0x80, subject_key_identifier(RA.certificate)))
    assert open_envelope(by_key, [CA, RA]).content == CONTENT


def test_a_single_unknown_recipient_is_tried_with_every_key() -> None:
    """The RA key before the last one, or a name in another encoding."""
    misnamed = rebuilt(sealed(), RA.issuer_and_serial, CLIENT.issuer_and_serial)
    assert open_envelope(misnamed, [CA, RA]).content == CONTENT


@pytest.mark.parametrize("by_key", [False, True])
def test_our_recipient_is_found_among_several(*, by_key: bool) -> None:
    other = seal(CONTENT, RsaRecipient(key("client").public_key(), CLIENT.issuer_and_serial), Cipher.AES128)
    theirs = next(part for part in walk(other) if part[0] == tlv.SET)
    der = sealed()
    if by_key:
        der = rebuilt(der, RA.issuer_and_serial, tlv.tlv(0x80, subject_key_identifier(RA.certificate)))
    ours = next(part for part in walk(der) if part[0] == tlv.SET)
    both = tlv.set_of(ours[tlv.read(ours).content :], theirs[tlv.read(theirs).content :])
    assert open_envelope(rebuilt(der, ours, both), [RA]).content == CONTENT


def _garbled_key() -> bytes:
    der = sealed()
    encrypted_key = next(part for part in walk(der) if part[0] == tlv.OCTET_STRING and len(part) > 200)
    return rebuilt(der, encrypted_key, tlv.octet_string(b"\x01" * 256))


def _key_of_wrong_length() -> bytes:
    der = sealed()
    encrypted_key = next(part for part in walk(der) if part[0] == tlv.OCTET_STRING and len(part) > 200)
    return rebuilt(der, encrypted_key, tlv.octet_string(RA_PUBLIC_KEY.encrypt(b"k" * 15, padding.PKCS1v15())))


def _key_not_of_the_modulus_length() -> bytes:
    der = sealed()
    encrypted_key = next(part for part in walk(der) if part[0] == tlv.OCTET_STRING and len(part) > 200)
    return rebuilt(der, encrypted_key, tlv.octet_string(b"\x01" * 7))


def _content_encrypted(padded: bytes) -> bytes:
    """Return an envelope whose key is right and whose content decrypts to ``padded``."""
    content_key, iv = b"k" * 16, b"i" * 16
    encryptor = CipherContext(Cipher.AES128.keyed(content_key), modes.CBC(iv)).encryptor()
    encrypted = encryptor.update(padded) + encryptor.finalize()
    der = sealed()
    encrypted_key = next(part for part in walk(der) if part[0] == tlv.OCTET_STRING and len(part) > 200)
    old_iv = next(part for part in walk(der) if part[0] == tlv.OCTET_STRING and len(part) == 18)
    old = next(part for part in walk(der) if part[0] == 0x80 and len(part) > 64)
    der = rebuilt(der, encrypted_key, tlv.octet_string(RA_PUBLIC_KEY.encrypt(content_key, padding.PKCS1v15())))
    return rebuilt(rebuilt(der, old_iv, tlv.octet_string(iv)), old, tlv.tlv(0x80, encrypted))


def _padded(content: bytes) -> bytes:
    padder = PKCS7(128).padder()
    return padder.update(content) + padder.finalize()


@pytest.mark.parametrize(
    "der",
    [
        pytest.param(_garbled_key(), id="the key does not unwrap"),
        pytest.param(_key_of_wrong_length(), id="the key has a wrong length"),
        pytest.param(_key_not_of_the_modulus_length(), id="the encrypted key is too short"),
        pytest.param(_content_encrypted(b"x" * 31 + b"\0"), id="the content's padding is wrong"),
        pytest.param(_content_encrypted(_padded(b"no sequence")), id="the content is no SEQUENCE"),
        pytest.param(_content_encrypted(_padded(CONTENT + b"more")), id="bytes follow the content"),
        pytest.param(_content_encrypted(_padded(b"")), id="nothing inside"),
    ],
)
def test_every_envelope_that_does_not_open_gets_the_same_answer(der: bytes) -> None:
    with pytest.raises(EnvelopeUndecryptable) as caught:
        open_envelope(der, [RA])
    assert str(caught.value) == "the envelope cannot be decrypted, or holds no certificate request that verifies"


def test_an_envelope_for_somebody_else_does_not_open() -> None:
    with pytest.raises(EnvelopeUndecryptable):
        open_envelope(seal(CONTENT, RsaRecipient(key("client").public_key(), CLIENT.issuer_and_serial), Cipher.AES128), [RA])


class _OracleKey:
    """An HSM that raises where the library would return something random (SoftHSM does)."""

    def __init__(self, wrapped: rsa.RSAPrivateKey) -> None:
        self.decryptions = 0
        self._wrapped = wrapped

    def decrypt(self, ciphertext: bytes, padding: object) -> bytes:
        self.decryptions += 1
        raise RuntimeError(f"CKR_ENCRYPTED_DATA_INVALID: {len(ciphertext)} bytes, {padding}")  # a vendor's own error


rsa.RSAPrivateKey.register(_OracleKey)


def test_an_hsm_that_tells_padding_errors_apart_is_no_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    decrypted = []
    original = envelope._decrypt  # noqa: SLF001 - to see that the content is decrypted all the same

    def noting(encrypted: bytes, iv: bytes, cipher: Cipher, content_key: bytes) -> bytes | None:
        decrypted.append(content_key)
        return original(encrypted, iv, cipher, content_key)

    monkeypatch.setattr(envelope, "_decrypt", noting)
    oracle = _OracleKey(key("ra"))
    hsm = Signer(RA.certificate, oracle, RA.certificate_der, RA.issuer_and_serial)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(EnvelopeUndecryptable):
            open_envelope(sealed(), [hsm])
    assert oracle.decryptions == 2
    assert len({*decrypted}) == 2, "each attempt goes on with a random key of its own"


def test_unknown_ciphers_and_key_transports_are_bad_algorithms() -> None:
    aes, rc2 = tlv.object_identifier("2.16.840.1.101.3.4.1.2"), tlv.object_identifier("1.2.840.113549.3.2")
    with pytest.raises(AlgorithmRefused, match="content encryption"):
        open_envelope(rebuilt(sealed(), aes, rc2), [RA])
    plain_rsa, pss = tlv.object_identifier("1.2.840.113549.1.1.1"), tlv.object_identifier("1.2.840.113549.1.1.10")
    with pytest.raises(AlgorithmRefused, match="key transport"):
        open_envelope(rebuilt(sealed(), plain_rsa, pss), [RA])


def test_a_key_too_small_for_its_key_transport_is_refused() -> None:
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - too small is the point
    with pytest.raises(AlgorithmRefused):
        seal(CONTENT, RsaRecipient(small.public_key(), RA.issuer_and_serial, KeyTransport(oaep=Digest.SHA512)), Cipher.AES128)


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_raise_declared_errors_only(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        open_envelope(data, [RA])


SEALED = sealed()


@settings(max_examples=150)
@given(st.integers(0, 600), st.integers(1, 255))
def test_a_changed_byte_raises_declared_errors_only(position: int, change: int) -> None:
    der = bytearray(SEALED)
    der[position % len(der)] ^= change
    with contextlib.suppress(ScepRefusal):
        open_envelope(bytes(der), [RA])
