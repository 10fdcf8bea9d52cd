"""pkilint, called in this process: a command would take seconds a certificate, this takes some hundredths of one."""

from functools import cache
from typing import Any, NamedTuple

from pkilint import loader
from pkilint.cabf import smime
from pkilint.cabf.smime.smime_constants import Generation, ValidationLevel
from pkilint.pkix import certificate, extension, name
from pkilint.validation import ValidationFindingSeverity


class Finding(NamedTuple):
    """What a linter holds against a certificate."""

    code: str
    message: str


def lint_pkix(der: bytes) -> set[Finding]:
    """Lint against RFC 5280."""
    return _lint("PKIX", der)


def lint_smime(der: bytes, kind: str) -> set[Finding]:
    """Lint against the S/MIME baseline requirements; ``kind`` is a level and a generation, ``MAILBOX-STRICT``."""
    return _lint(kind, der)


def _lint(kind: str, der: bytes) -> set[Finding]:
    document = loader.load_der_certificate(der, kind)
    results = _validator(kind).validate(document.root)
    # The scale runs downwards: FATAL is 0, NOTICE 3, INFO 4.
    return {
        Finding(found.finding.code, found.message or "")
        for result in results
        for found in result.finding_descriptions
        if found.finding.severity <= ValidationFindingSeverity.NOTICE
    }


@cache
def _validator(kind: str) -> Any:  # noqa: ANN401 - pkilint has no types
    if kind == "PKIX":
        return certificate.create_pkix_certificate_validator_container(
            certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
            [
                certificate.create_issuer_validator_container([]),
                certificate.create_validity_validator_container(),
                certificate.create_subject_validator_container([]),
                certificate.create_extensions_validator_container([]),
                certificate.create_spki_validator_container([]),
            ],
        )
    level, generation = kind.split("-")
    return certificate.create_pkix_certificate_validator_container(
        smime.create_decoding_validators(),
        smime.create_subscriber_validators(ValidationLevel[level], Generation[generation]),
    )
