"""RC2 against the vectors of RFC 2268, and in CBC mode against the library, which has keys of 128 bits."""

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import RC2
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from hypothesis import given
from hypothesis import strategies as st

from pkcs_import.rc2 import decrypted


@pytest.mark.parametrize(
    ("key", "bits", "plain", "ciphertext"),
    [
        ("0000000000000000", 63, "0000000000000000", "ebb773f993278eff"),
        ("ffffffffffffffff", 64, "ffffffffffffffff", "278b27e42e2f0d49"),
        ("3000000000000000", 64, "1000000000000001", "30649edf9be7d2c2"),
        ("88", 64, "0000000000000000", "61a8a244adacccf0"),
        ("88bca90e90875a", 64, "0000000000000000", "6ccf4308974c267f"),
        ("88bca90e90875a7f0f79c384627bafb2", 64, "0000000000000000", "1a807d272bbe5db1"),
        ("88bca90e90875a7f0f79c384627bafb2", 128, "0000000000000000", "2269552ab0f85ca6"),
        ("88bca90e90875a7f0f79c384627bafb216f80a6f85920584c42fceb0be255daf1e", 129, "0000000000000000", "5b78d3a43dfff1f1"),
    ],
)
def test_the_vectors_of_the_rfc_decrypt(key: str, bits: int, plain: str, ciphertext: str) -> None:
    assert decrypted(bytes.fromhex(key), bits, bytes(8), bytes.fromhex(ciphertext)).hex() == plain


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.binary(max_size=200))
def test_what_the_library_encrypts_decrypts(key: bytes, iv: bytes, data: bytes) -> None:
    plain = data[: len(data) // 8 * 8]
    encryptor = Cipher(RC2(key), modes.CBC(iv)).encryptor()
    assert decrypted(key, 128, iv, encryptor.update(plain) + encryptor.finalize()) == plain


@pytest.mark.parametrize(("iv", "data"), [(bytes(8), bytes(7)), (bytes(7), bytes(8))])
def test_broken_blocks_are_an_error(iv: bytes, data: bytes) -> None:
    with pytest.raises(ValueError, match="whole blocks"):
        decrypted(b"12345", 40, iv, data)
