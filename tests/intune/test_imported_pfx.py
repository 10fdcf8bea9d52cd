"""The connector's key in both of its forms, passphrases under it, and the shapes of imported files."""

import base64
import struct
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from intune.errors import BadConnectorKey, BadPassphrase, IntuneUnavailable
from intune.imported_pfx import ConnectorKey, ImportedPfx, Listed, PaddingScheme, Statement, thumbprint_of

STATEMENT = Statement(
    thumbprint="ab" * 20,
    user_principal_name="alice@example.com",
    intended_purpose="smimeEncryption",
    start=datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC),
    expiration=datetime(2027, 6, 1, 12, 0, 0, tzinfo=UTC),
    provider_name="Microsoft Software Key Storage Provider",
    key_name="PFXEncryptionKey",
    padding_scheme=PaddingScheme.OAEP_SHA512,
)
_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "oaepSha256": hashes.SHA256(),
    "oaepSha384": hashes.SHA384(),
    "oaepSha512": hashes.SHA512(),
}
LISTED: dict[str, Any] = {
    "id": f"{'0' * 32}-{'ab' * 20}",
    "thumbprint": "AB" * 20,
    "userPrincipalName": "Alice@example.com",
    "intendedPurpose": "smimeEncryption",
    "startDateTime": "2026-06-01T12:00:00Z",
    "expirationDateTime": "2027-06-01T14:00:00.0000000+02:00",
    "providerName": "Microsoft Software Key Storage Provider",
    "keyName": "PFXEncryptionKey",
    "paddingScheme": "oaepSha512",
}


def pem(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def blob(key: rsa.RSAPublicKey, *, primes: int = 0, bits: int | None = None) -> bytes:
    numbers = key.public_numbers()
    exponent = numbers.e.to_bytes(3, "big")
    modulus = numbers.n.to_bytes(key.key_size // 8, "big")
    header = struct.pack("<4sIIIII", b"RSA1", bits or key.key_size, len(exponent), len(modulus), primes, primes)
    return header + exponent + modulus


def test_the_key_is_read_from_pem_and_from_what_windows_exports(rsa_key: rsa.RSAPrivateKey) -> None:
    public = rsa_key.public_key()
    assert ConnectorKey.of(pem(public)).public_key == public
    assert ConnectorKey.of(blob(public)).public_key == public
    assert ConnectorKey.of(pem(public)).sha256 == ConnectorKey.of(blob(public)).sha256


def test_a_modulus_that_ends_like_a_line_is_read_whole() -> None:
    while True:
        key = rsa.generate_private_key(65537, 2048).public_key()
        if key.public_numbers().n & 0xFF == 0x0D:
            break
    assert ConnectorKey.of(blob(key)).public_key == key


@pytest.mark.parametrize("scheme", list(PaddingScheme))
def test_a_passphrase_is_what_the_connector_decrypts_it_to(rsa_key: rsa.RSAPrivateKey, scheme: PaddingScheme) -> None:
    encrypted = ConnectorKey.of(pem(rsa_key.public_key()), scheme).encrypt("made-by-a-machine")
    algorithm = _HASHES[scheme]
    oaep = padding.OAEP(mgf=padding.MGF1(algorithm), algorithm=algorithm, label=None)
    assert rsa_key.decrypt(encrypted, oaep) == b"made-by-a-machine"


@pytest.mark.parametrize("passphrase", ["", "pässword", "x" * 127])
def test_a_passphrase_that_the_connector_would_read_otherwise_is_refused(rsa_key: rsa.RSAPrivateKey, passphrase: str) -> None:
    with pytest.raises(BadPassphrase) as refused:
        ConnectorKey(rsa_key.public_key()).encrypt(passphrase)
    assert passphrase not in str(refused.value) or not passphrase


def test_what_is_no_connectors_key_is_refused(rsa_key: rsa.RSAPrivateKey, ec_key: ec.EllipticCurvePrivateKey) -> None:
    whole = blob(rsa_key.public_key())
    weak = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505 - to be refused
    refused = {
        b"": "neither",
        b"no key": "neither",
        pem(ec_key.public_key()): "RSA",
        pem(weak): "2048",
        blob(weak): "2048",
        whole[:20]: "damaged",
        whole[:-1]: "damaged",
        whole + b"\n": "damaged",
        blob(rsa_key.public_key(), primes=128): "damaged",
        blob(rsa_key.public_key(), bits=3072): "damaged",
        struct.pack("<4sIIIII", b"RSA1", 2048, 3, 2**31, 0, 0): "damaged",
        struct.pack("<4sIIIII", b"RSA1", 0, 0, 0, 0, 0): "damaged",
    }
    for content, reason in refused.items():
        with pytest.raises(BadConnectorKey, match=reason):
            ConnectorKey.of(content)


def test_a_file_is_described_as_microsofts_own_tool_describes_it() -> None:
    now = datetime(2026, 6, 2, 8, 30, 15, 999, tzinfo=UTC)
    assert ImportedPfx(STATEMENT, b"a PKCS #12", b"a passphrase").document(now) == {
        "@odata.type": "#microsoft.graph.userPFXCertificate",
        "thumbprint": "ab" * 20,
        "userPrincipalName": "alice@example.com",
        "intendedPurpose": "smimeEncryption",
        "startDateTime": "2026-06-01T12:00:00Z",
        "expirationDateTime": "2027-06-01T12:00:00Z",
        "providerName": "Microsoft Software Key Storage Provider",
        "keyName": "PFXEncryptionKey",
        "paddingScheme": "oaepSha512",
        "encryptedPfxBlob": base64.b64encode(b"a PKCS #12").decode(),
        "encryptedPfxPassword": base64.b64encode(b"a passphrase").decode(),
        "createdDateTime": "2026-06-02T08:30:15Z",
        "lastModifiedDateTime": "2026-06-02T08:30:15Z",
    }


def test_what_is_listed_is_compared_whatever_its_spelling() -> None:
    listed = Listed.of(LISTED)
    assert listed.id == LISTED["id"]
    assert listed.statement.thumbprint == STATEMENT.thumbprint
    assert listed.statement.expiration == STATEMENT.expiration
    assert STATEMENT.differences(listed.statement) == ()
    changed = replace(STATEMENT, key_name="another", padding_scheme=PaddingScheme.OAEP_SHA256)
    assert changed.differences(listed.statement) == ("keyName", "paddingScheme")


def test_what_is_missing_in_a_list_is_a_difference_and_no_failure() -> None:
    listed = Listed.of({"id": "x-1", "thumbprint": "ab", "keyName": None, "startDateTime": "yesterday"})
    assert "keyName" in STATEMENT.differences(listed.statement)


@pytest.mark.parametrize(
    "entry", [None, [], {}, {"id": "x"}, {"thumbprint": "ab"}, *({**LISTED, "id": bad} for bad in ("", "a')/x", "a b", 7, "ä"))]
)
def test_what_could_not_stand_in_an_address_is_no_entry(entry: object) -> None:
    with pytest.raises(IntuneUnavailable):
        Listed.of(entry)


def test_a_thumbprint_is_sha1_in_small_letters() -> None:
    assert thumbprint_of(b"abc") == "a9993e364706816aba3e25717850c26c9cd0d89d"
