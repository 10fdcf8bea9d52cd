"""The derivation of RFC 7292 appendix B, against values that other implementations publish."""

import pytest

from pkcs_import.pkcs12_kdf import SHA1, Use, pkcs12_kdf

SMEG, QUEEG = "0073006d006500670000", "007100750065006500670000"


@pytest.mark.parametrize(
    ("use", "password", "salt", "iterations", "expected"),
    [
        # Published with OpenSSL, BouncyCastle and others.
        (Use.KEY, SMEG, "0a58cf64530d823f", 1, "8aaae6297b6cb04642ab5b077851284eb7128f1a2a7fbca3"),
        (Use.IV, SMEG, "0a58cf64530d823f", 1, "79993dfe048d3b76"),
        (Use.KEY, SMEG, "642b99ab44fb4b1f", 1, "f3a95fec48d7711e985cfe67908c5ab79fa3d7c5caa5d966"),
        (Use.IV, SMEG, "642b99ab44fb4b1f", 1, "c0a38d64a79bea1d"),
        (Use.MAC, SMEG, "3d83c0e4546ac140", 1, "8d967d88f6caa9d714800ab3d48051d63f73a312"),
        (Use.KEY, QUEEG, "05dec959acff72f7", 1000, "ed2034e36328830ff09df1e1a07dd357185dac0d4f9eb3d4"),
        (Use.IV, QUEEG, "05dec959acff72f7", 1000, "11dedad7758d4860"),
        (Use.KEY, QUEEG, "1682c0fc5b3f7ec5", 1000, "483dd6e919d7de2e8e648ba8f862f3fbfbdc2bcb2c02957f"),
        (Use.IV, QUEEG, "1682c0fc5b3f7ec5", 1000, "9d461d1b00355c50"),
        (Use.MAC, QUEEG, "263216fcc2fab31c", 1000, "5ec4c7a80df652294c3925b6489a7ab857c83476"),
    ],
)
def test_what_others_derive_is_derived(use: Use, password: str, salt: str, iterations: int, expected: str) -> None:
    length = len(expected) // 2
    derived = pkcs12_kdf(SHA1, use, bytes.fromhex(password), bytes.fromhex(salt), iterations, length)
    assert derived.hex() == expected
