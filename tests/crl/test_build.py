"""The spliced CRL against cryptography, openssl and pkilint."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from pkilint import loader, pkix, validation
from pkilint.cabf import cabf_crl
from pkilint.pkix import crl as pkilint_crl
from pkilint.pkix import extension, name

from ca.keys import PrivateKey
from ca.revocation import RevocationReason, encode_entry
from crl.build import CrlContent, Entries, build
from crl.errors import DefectiveCrl
from tests.crl.world import ca_certificate

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
CONTENT = CrlContent(number=7, this_update=NOW, next_update=NOW + timedelta(hours=24))
REASONS = [reason for reason in RevocationReason if reason is not RevocationReason.REMOVE_FROM_CRL]

# What pkilint's BR profile says beyond RFC 5280 and a private CA does on purpose.
ALLOWED = {
    # Baseline Requirements 7.2.2 know five reasons for web servers' certificates; ours may be revoked for every one of RFC 5280.
    "cabf.crl_prohibited_reason_code",
}


@pytest.fixture(params=["rsa", "p256", "p384", "ed25519"])
def key(request: pytest.FixtureRequest, rsa_key: rsa.RSAPrivateKey, ec_key: ec.EllipticCurvePrivateKey) -> PrivateKey:
    """A CA key of every family."""
    keys: dict[str, PrivateKey] = {
        "rsa": rsa_key,
        "p256": ec_key,
        "p384": ec.derive_private_key(4711, ec.SECP384R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
    }
    return keys[request.param]


def issuer_of(key: PrivateKey) -> x509.Certificate:
    return ca_certificate("Root", key, "Root", key, NOW - timedelta(days=1))


def entries(count: int) -> Entries:
    reasons = [REASONS[n % len(REASONS)] for n in range(count)]
    return Entries.collect(encode_entry(2**120 + n, NOW, reason, NOW) for n, reason in enumerate(reasons))


@pytest.mark.parametrize("count", [0, 1, 3, 700])
def test_a_crl_verifies_and_lists_what_it_was_given(key: PrivateKey, count: int) -> None:
    issuer = issuer_of(key)
    crl = x509.load_der_x509_crl(build(issuer, key, entries(count), CONTENT).der)
    assert crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    assert [entry.serial_number for entry in crl] == [2**120 + n for n in range(count)]
    assert (crl.issuer, crl.last_update_utc, crl.next_update_utc) == (issuer.subject, NOW, NOW + timedelta(hours=24))
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 7
    identifier = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert identifier == issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def test_a_crl_without_entries_has_no_revoked_certificates_field(ec_key: ec.EllipticCurvePrivateKey) -> None:
    issuer = issuer_of(ec_key)
    empty = x509.load_der_x509_crl(build(issuer, ec_key, entries(0), CONTENT).der)
    by_library = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(NOW)
        .next_update(NOW + timedelta(hours=24))
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            ),
            critical=False,
        )
        .add_extension(x509.CRLNumber(7), critical=False)
        .sign(ec_key, empty.signature_hash_algorithm)  # type: ignore[arg-type]
    )
    assert empty.tbs_certlist_bytes == by_library.tbs_certlist_bytes


def test_openssl_verifies_it(key: PrivateKey, tmp_path: Path) -> None:
    issuer = issuer_of(key)
    (tmp_path / "ca.pem").write_bytes(issuer.public_bytes(Encoding.PEM))
    (tmp_path / "a.crl").write_bytes(build(issuer, key, entries(20), CONTENT).der)
    command = ["openssl", "crl", "-inform", "DER", "-in", "a.crl", "-CAfile", "ca.pem", "-verify", "-noout", "-text"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "verify OK" in done.stderr
    assert done.stdout.count("Serial Number:") == 20
    assert "Key Compromise" in done.stdout


def test_a_key_that_is_not_the_issuers_yields_no_crl(rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(DefectiveCrl):
        build(issuer_of(rsa_key), other_rsa_key, entries(1), CONTENT)


def test_entries_that_are_none_yield_no_crl(ec_key: ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises((DefectiveCrl, ValueError)):
        build(issuer_of(ec_key), ec_key, Entries(entries(3).encoded, 4), CONTENT)
    with pytest.raises((DefectiveCrl, ValueError)):
        build(issuer_of(ec_key), ec_key, Entries(b"\x30\x03\x02\x01", 1), CONTENT)


@pytest.mark.parametrize("kind", list(pkilint_crl.CertificateRevocationListType))
def test_pkilint_finds_nothing(key: PrivateKey, kind: pkilint_crl.CertificateRevocationListType) -> None:
    # A root's CRL lives for 90 days, an issuing CA's for one; the sample holds every reason.
    arl = kind is pkilint_crl.CertificateRevocationListType.ARL
    content = CrlContent(8, NOW, NOW + (timedelta(days=90) if arl else timedelta(hours=24)))
    der = build(issuer_of(key), key, entries(len(REASONS)), content).der
    assert _findings(der, kind) - ALLOWED == set()


def test_pkilint_would_find_a_fault(ec_key: ec.EllipticCurvePrivateKey) -> None:
    der = build(issuer_of(ec_key), ec_key, entries(1), CrlContent(8, NOW, NOW + timedelta(days=400))).der
    assert _findings(der, pkilint_crl.CertificateRevocationListType.CRL) - ALLOWED


def _findings(der: bytes, kind: pkilint_crl.CertificateRevocationListType) -> set[str]:
    """Lint as ``lint_crl lint -p BR -s NOTICE`` does."""
    validity = cabf_crl.create_validity_period_validator(kind)
    linter = pkilint_crl.create_pkix_crl_validator_container(
        [
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [
            pkilint_crl.create_issuer_validator_container([]),
            pkilint_crl.create_validity_validator_container([validity]),
            pkilint_crl.create_extensions_validator_container([]),
            cabf_crl.CabfCrlReasonCodeAllowlistValidator(kind),
        ],
    )
    document = loader.RFC5280CertificateListDocumentLoader().load_der_document(der, "crl")
    results = linter.validate(document.root)
    # FATAL is 0: what weighs more has the smaller number.
    notice = validation.ValidationFindingSeverity.NOTICE
    return {found.finding.code for result in results for found in result.finding_descriptions if found.finding.severity <= notice}
