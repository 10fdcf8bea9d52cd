"""Keys in a token: they do what files' keys do, never leave the token, and say nothing about a padding."""

import copy
import os
import random
import secrets
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import NoReturn

import pkcs11
import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder
from cryptography.x509 import ocsp

from ca import pkcs11_objects
from ca.errors import KeyExists, KeyMissing, KeyNotExtractable, KeyUnavailable
from ca.keys import KeyAlgorithm, open_key, require_halves
from ca.pkcs11 import Pkcs11KeyStore
from tests.ca.keystores import shared_key
from tests.ca.tokens import keystore_in, opened
from tests.softhsm import SoftHsm

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "token")])
PKCS1 = padding.PKCS1v15()
# SoftHSM 2.6.1 overlooks the first of those that it is to leave out.
WITHOUT = "slots.mechanisms = -CKM_DES_CBC,"
WITHOUT_RAW_RSA = f"{WITHOUT}CKM_RSA_X_509"


@pytest.fixture
def keystore(softhsm: SoftHsm) -> Iterator[Pkcs11KeyStore]:
    with opened(softhsm) as keystore:
        yield keystore


def rsa_key_in(keystore: Pkcs11KeyStore, reference: str = "ra") -> rsa.RSAPrivateKey:
    key = keystore.generate(reference, KeyAlgorithm.RSA2048)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def curve_key_in(keystore: Pkcs11KeyStore, algorithm: KeyAlgorithm = KeyAlgorithm.P256) -> ec.EllipticCurvePrivateKey:
    key = keystore.generate(str(algorithm), algorithm)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def raw_block(key: rsa.RSAPrivateKey, block: bytes) -> bytes:
    """Return the ciphertext that decrypts to ``block``, padding and all."""
    numbers = key.public_key().public_numbers()
    return pow(int.from_bytes(block, "big"), numbers.e, numbers.n).to_bytes(key.key_size // 8, "big")


# --- in the token ---


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.RSA2048, KeyAlgorithm.P384])
def test_a_key_is_made_in_the_token_and_stays_there(keystore: Pkcs11KeyStore, softhsm: SoftHsm, algorithm: KeyAlgorithm) -> None:
    keystore.generate("issuing", algorithm)
    keystore.close()
    listed = softhsm.pkcs11_tool("--list-objects", "--type", "privkey")
    assert "label:      issuing" in listed
    assert "sensitive, always sensitive, never extractable, local" in listed
    assert "unwrap" not in listed


def test_both_halves_of_a_key_have_the_same_id(keystore: Pkcs11KeyStore, softhsm: SoftHsm) -> None:
    for reference in ("one", "two"):
        keystore.generate(reference, KeyAlgorithm.P256)
    keystore.close()
    lines = [line.split()[-1] for line in softhsm.pkcs11_tool("--list-objects").splitlines() if line.strip().startswith("ID:")]
    assert sorted(lines.count(each) for each in set(lines)) == [2, 2]


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.RSA2048, KeyAlgorithm.P256, KeyAlgorithm.ED25519])
def test_a_key_does_not_leave_the_token(keystore: Pkcs11KeyStore, algorithm: KeyAlgorithm) -> None:
    key = keystore.generate("issuing", algorithm)
    der, pkcs8, plain = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    with pytest.raises(KeyNotExtractable):
        key.private_bytes(der, pkcs8, plain)
    with pytest.raises(KeyNotExtractable):
        key.private_bytes_raw() if isinstance(key, ed25519.Ed25519PrivateKey) else key.private_numbers()
    assert copy.copy(key) is key
    assert copy.deepcopy([key]) == [key]


@pytest.mark.parametrize("half", ["privkey", "pubkey"])
def test_half_a_key_is_none_and_does_not_stand_in_the_way(keystore: Pkcs11KeyStore, softhsm: SoftHsm, half: str) -> None:
    keystore.generate("issuing", KeyAlgorithm.P256)
    keystore.close()
    softhsm.pkcs11_tool("--delete-object", "--type", half, "--label", "issuing")
    assert not keystore.exists("issuing")
    with pytest.raises(KeyMissing):
        keystore.load("issuing")
    made = keystore.generate("issuing", KeyAlgorithm.P384)
    assert keystore.load("issuing").public_key() == made.public_key()


def test_a_process_that_is_killed_while_it_makes_keys_leaves_nothing_in_the_way(
    keystore: Pkcs11KeyStore, softhsm: SoftHsm
) -> None:
    for round_ in range(12):
        keystore.close()
        receiver, sender = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover - in another process
            try:
                for number in count():
                    keystore_in(softhsm).generate(f"key-{round_}-{number}", KeyAlgorithm.P256)
                    os.write(sender, b".")
            finally:
                os._exit(1)
        os.close(sender)
        os.read(receiver, 1)
        time.sleep(random.uniform(0.0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        made = 1
        while more := os.read(receiver, 4096):
            made += len(more)
        os.close(receiver)
        for number in (made - 1, made, made + 1):
            require_halves(open_key(keystore, f"key-{round_}-{number}", KeyAlgorithm.P256))


def test_a_private_key_that_holds_nothing_yet_is_none(keystore: Pkcs11KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    keystore.generate("issuing", KeyAlgorithm.P256)
    real = pkcs11_objects._attribute  # noqa: SLF001 - SoftHSM is in this state for microseconds

    def begun(half: pkcs11.Object, attribute: pkcs11.Attribute) -> object:
        is_private = isinstance(half, pkcs11.PrivateKey)
        return b"" if is_private and attribute == pkcs11.Attribute.EC_PARAMS else real(half, attribute)

    assert keystore.exists("issuing")
    monkeypatch.setattr(pkcs11_objects, "_attribute", begun)
    assert not keystore.exists("issuing")


def test_two_keys_of_one_name_are_told_of_rather_than_chosen_from(keystore: Pkcs11KeyStore, softhsm: SoftHsm) -> None:
    keystore.generate("issuing", KeyAlgorithm.P256)
    keystore.close()
    softhsm.pkcs11_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "issuing", "--id", "77")
    with pytest.raises(KeyUnavailable, match="2 keys called 'issuing'"):
        keystore.load("issuing")


def test_who_loses_the_race_for_a_name_takes_its_key_back(
    keystore: Pkcs11KeyStore, softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    won = keystore.generate("issuing", KeyAlgorithm.P256)
    # The other process looked before this one had made its key.
    with monkeypatch.context() as patch:
        patch.setattr(keystore, "exists", lambda _reference: False)
        with pytest.raises(KeyExists):
            keystore.generate("issuing", KeyAlgorithm.P256)
    assert keystore.load("issuing").public_key() == won.public_key()
    keystore.close()
    assert softhsm.pkcs11_tool("--list-objects").count("label:      issuing") == 2


def test_a_key_that_another_program_made_is_taken(keystore: Pkcs11KeyStore, softhsm: SoftHsm) -> None:
    softhsm.pkcs11_tool("--keypairgen", "--key-type", "rsa:2048", "--label", "issuing-rsa2048", "--id", "01")
    require_halves(keystore.load("issuing-rsa2048"))


def test_a_kind_of_key_that_the_token_does_not_make_is_named(keystore: Pkcs11KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> NoReturn:
        """SoftHSM makes what its configuration leaves out."""
        raise pkcs11.MechanismInvalid

    monkeypatch.setattr("ca.pkcs11.make_pair", refuse)
    with pytest.raises(KeyUnavailable, match=r"makes no key of kind ed25519.*CKR_MECHANISM_INVALID"):
        keystore.generate("issuing", KeyAlgorithm.ED25519)
    assert not keystore.exists("issuing")


# --- signing ---


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.RSA2048, KeyAlgorithm.P256, KeyAlgorithm.P384, KeyAlgorithm.P521])
def test_certificates_requests_crls_ocsp_answers_and_messages_can_be_signed(
    keystore: Pkcs11KeyStore, algorithm: KeyAlgorithm
) -> None:
    key = keystore.generate("issuing", algorithm)
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    chosen = hashes.SHA384()
    builder = x509.CertificateBuilder(NAME, NAME, key.public_key(), 1, NOW, NOW + timedelta(days=1))
    certificate = builder.sign(key, chosen)
    certificate.verify_directly_issued_by(certificate)
    assert x509.CertificateSigningRequestBuilder(NAME).sign(key, chosen).is_signature_valid
    revocations = x509.CertificateRevocationListBuilder(NAME, NOW, NOW + timedelta(days=1)).sign(key, chosen)
    assert revocations.is_signature_valid(key.public_key())
    good = ocsp.OCSPResponseBuilder().responder_id(ocsp.OCSPResponderEncoding.HASH, certificate)
    answer = good.add_response(
        certificate, certificate, hashes.SHA256(), ocsp.OCSPCertStatus.GOOD, NOW, NOW + timedelta(hours=1), None, None
    ).sign(key, chosen)
    if isinstance(key, rsa.RSAPrivateKey):
        key.public_key().verify(answer.signature, answer.tbs_response_bytes, PKCS1, chosen)
    else:
        key.public_key().verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(chosen))
    message = PKCS7SignatureBuilder().set_data(b"data").add_signer(certificate, key, chosen)
    assert message.sign(serialization.Encoding.DER, [PKCS7Options.Binary])


@pytest.mark.parametrize("chosen", [hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])  # noqa: S303 - legacy
def test_signatures_are_made_over_a_digest_as_well_as_over_data(keystore: Pkcs11KeyStore, chosen: hashes.HashAlgorithm) -> None:
    context = hashes.Hash(chosen)
    context.update(b"data")
    digest = context.finalize()
    key = rsa_key_in(keystore)
    for signature in (key.sign(b"data", PKCS1, chosen), key.sign(digest, PKCS1, utils.Prehashed(chosen))):
        key.public_key().verify(signature, b"data", PKCS1, chosen)
    curve_key = curve_key_in(keystore)
    for signature in (curve_key.sign(b"data", ec.ECDSA(chosen)), curve_key.sign(digest, ec.ECDSA(utils.Prehashed(chosen)))):
        curve_key.public_key().verify(signature, b"data", ec.ECDSA(chosen))
    with pytest.raises(ValueError, match="another length"):
        key.sign(b"short", PKCS1, utils.Prehashed(chosen))


def test_what_keys_in_a_token_do_not_do_is_refused_in_words(keystore: Pkcs11KeyStore) -> None:
    key, curve_key = rsa_key_in(keystore), curve_key_in(keystore)
    with pytest.raises(UnsupportedAlgorithm, match="with PKCS #1"):
        key.sign(b"data", padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    with pytest.raises(UnsupportedAlgorithm, match="sha3-256"):
        key.sign(b"data", PKCS1, hashes.SHA3_256())
    with pytest.raises(UnsupportedAlgorithm, match="random nonce"):
        curve_key.sign(b"data", ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    with pytest.raises(UnsupportedAlgorithm, match="sha3-256"):
        key.decrypt(bytes(255) + b"\2", padding.OAEP(padding.MGF1(hashes.SHA3_256()), hashes.SHA3_256(), None))


def test_a_public_key_that_is_another_keys_is_noticed(keystore: Pkcs11KeyStore) -> None:
    key = curve_key_in(keystore)
    key._public_key = shared_key(KeyAlgorithm.P256).public_key()  # type: ignore[attr-defined] # noqa: SLF001
    with pytest.raises(KeyUnavailable, match="does not make signatures"):
        require_halves(key)


# --- decrypting ---


@pytest.mark.parametrize("lines", [(), (WITHOUT_RAW_RSA,)], ids=["raw", "padding in the token"])
def test_what_was_encrypted_with_pkcs1_is_decrypted(keystore: Pkcs11KeyStore, softhsm: SoftHsm, lines: tuple[str, ...]) -> None:
    softhsm.configure(*lines)
    assert keystore.facts().decrypts_raw == (not lines)
    key = rsa_key_in(keystore)
    for length in (0, 1, 16, 32, 245):
        message = secrets.token_bytes(length)
        assert key.decrypt(key.public_key().encrypt(message, PKCS1), PKCS1) == message


@pytest.mark.parametrize("lines", [(), (WITHOUT_RAW_RSA,)], ids=["raw", "padding in the token"])
def test_a_wrong_pkcs1_padding_gives_the_same_random_message_every_time(
    keystore: Pkcs11KeyStore, softhsm: SoftHsm, lines: tuple[str, ...]
) -> None:
    softhsm.configure(*lines)
    key = rsa_key_in(keystore)
    for block in (bytes(255) + b"\2", b"\0\1" + b"\xff" * 250 + b"\0mmm", b"\0\2" + b"\1" * 254, b"\0\2\1\0" + b"m" * 252):
        ciphertext = raw_block(key, block)
        messages = {key.decrypt(ciphertext, PKCS1) for _ in range(3)}
        assert len(messages) == 1
        assert b"mmm" not in messages.pop()


@pytest.mark.parametrize("lines", [(), (WITHOUT_RAW_RSA,)], ids=["raw", "padding in the token"])
def test_a_ciphertext_that_the_public_key_rules_out_is_not_shown_to_the_token(
    keystore: Pkcs11KeyStore, softhsm: SoftHsm, lines: tuple[str, ...]
) -> None:
    softhsm.configure(*lines)
    key = rsa_key_in(keystore)
    modulus = key.public_key().public_numbers().n
    keystore.close()
    softhsm.take_away()
    without_effect = [number.to_bytes(256, "big") for number in (0, 1, modulus - 1)]
    for ciphertext in (b"", bytes(255), bytes(257), modulus.to_bytes(256, "big"), b"\xff" * 256, *without_effect):
        with pytest.raises(ValueError, match="none of this key"):
            key.decrypt(ciphertext, PKCS1)


def test_the_least_and_the_greatest_ciphertext_are_decrypted_like_others(keystore: Pkcs11KeyStore) -> None:
    key = rsa_key_in(keystore)
    modulus = key.public_key().public_numbers().n
    for number in (2, modulus - 2):
        assert key.decrypt(number.to_bytes(256, "big"), PKCS1) is not None


@pytest.mark.parametrize("digest", [hashes.SHA1(), hashes.SHA256(), hashes.SHA512()])  # noqa: S303 - what clients send
@pytest.mark.parametrize("mask_digest", [hashes.SHA1(), hashes.SHA256()])  # noqa: S303 - as above
def test_oaep_is_decrypted_whatever_the_token_knows_of_it(
    keystore: Pkcs11KeyStore, digest: hashes.HashAlgorithm, mask_digest: hashes.HashAlgorithm
) -> None:
    key = rsa_key_in(keystore)
    oaep = padding.OAEP(padding.MGF1(mask_digest), digest, None)
    assert key.decrypt(key.public_key().encrypt(b"content key", oaep), oaep) == b"content key"
    with pytest.raises(ValueError, match="decryption failed"):
        key.decrypt(key.public_key().encrypt(b"content key", PKCS1), oaep)


def test_without_the_raw_operation_oaep_is_what_the_token_does(keystore: Pkcs11KeyStore, softhsm: SoftHsm) -> None:
    softhsm.configure(WITHOUT_RAW_RSA)
    key = rsa_key_in(keystore)
    sha1 = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - what clients send
    assert key.decrypt(key.public_key().encrypt(b"content key", sha1), sha1) == b"content key"
    with pytest.raises(ValueError, match="decryption failed"):
        key.decrypt(key.public_key().encrypt(b"content key", PKCS1), sha1)
    sha256 = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    with pytest.raises(UnsupportedAlgorithm, match="RSA_PKCS_OAEP"):
        key.decrypt(key.public_key().encrypt(b"content key", sha256), sha256)


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.P256, KeyAlgorithm.P384, KeyAlgorithm.P521])
def test_both_sides_agree_on_a_secret(keystore: Pkcs11KeyStore, algorithm: KeyAlgorithm) -> None:
    key = curve_key_in(keystore, algorithm)
    peer = shared_key(algorithm)
    assert isinstance(peer, ec.EllipticCurvePrivateKey)
    assert key.exchange(ec.ECDH(), peer.public_key()) == peer.exchange(ec.ECDH(), key.public_key())
    elsewhere = ec.generate_private_key(ec.SECP256K1()).public_key()
    with pytest.raises(ValueError, match="another curve"):
        key.exchange(ec.ECDH(), elsewhere)
