"""Where the private keys are, and whether each of them is there and works."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from cryptography import x509
from sqlmodel import Session, col, select

from ca import hierarchy
from ca.errors import PinRefused, TokenUnavailable
from ca.keys import require_halves
from ca.records import Certificate, ServiceKey
from ca.rows import key_reference, row_named
from crl import publication
from foundation.errors import SignetryError
from signetry.doctor.findings import Finding
from signetry.house import House

if TYPE_CHECKING:
    from ca.pkcs11 import TokenFacts


def keys(house: House) -> Iterator[Finding]:
    """Look for every key that the database names, where the settings say that keys are."""
    with house.transactions.reading() as session:
        certified = _certified(session, house)
    configured = house.settings.pkcs11
    place = f"the token {configured.token!r}" if configured.is_configured else f"files in {house.settings.home / 'keys'}"
    if configured.is_configured:
        try:
            facts = _facts(house)
        except TokenUnavailable as error:
            yield Finding("keys", "error", f"{error}: {error.detail}", _remedy(error))
            return
        yield from _capabilities(facts)
        place = f"{place} ({facts.model}, serial number {facts.serial})"
    broken = list(_broken(house, certified))
    yield from broken
    if not broken:
        yield Finding("keys", "ok", f"{len(certified)} in {place}: {', '.join(sorted(certified))}")


def _certified(session: Session, house: House) -> dict[str, bytes | None]:
    """Return the reference of every key in use, with a certificate over it; None for one that awaits its first.

    A retired authority's is in use as long as it signs CRLs.
    """
    found: dict[str, bytes | None] = {
        key_reference(row_named(session, record.name)): record.certificate_der
        for record in hierarchy.authorities(session)
        if record.is_ours and publication.is_needed(session, record.id, house.clock.now())
    }
    found |= {key_reference(row_named(session, name)): None for name in hierarchy.awaiting_certificate(session)}
    good = (
        select(ServiceKey.key_reference, Certificate.der)
        .join(Certificate, col(ServiceKey.certificate_id) == col(Certificate.id))
        .where(col(Certificate.revoked_at).is_(None), col(Certificate.not_after) > house.clock.now())
    )
    return found | dict(session.exec(good).all())


def _facts(house: House) -> "TokenFacts":
    # An installation without a token has no need of the library.
    from ca.pkcs11 import Pkcs11KeyStore  # noqa: PLC0415

    assert isinstance(house.keystore, Pkcs11KeyStore)  # noqa: S101 - the settings say so
    return house.keystore.facts()


def _remedy(error: TokenUnavailable) -> str:
    if isinstance(error, PinRefused):
        return "write the right PIN into pkcs11.pin_file; nobody tries the one that was refused again"
    return "pkcs11-tool --module MODULE --list-slots shows what is there; the service goes on by itself once the token is back"


def _capabilities(facts: "TokenFacts") -> Iterator[Finding]:
    if not facts.decrypts_raw:
        yield Finding(
            "keys",
            "warning",
            "the token does not offer CKM_RSA_X_509 for decryption: how long it takes over a wrong padding is up to it",
            "ask its vendor about the Marvin attack, or keep the RA's keys in files",
        )


def _broken(house: House, certified: Mapping[str, bytes | None]) -> Iterator[Finding]:
    for reference, certificate in sorted(certified.items()):
        try:
            key = house.keystore.load(reference)
            require_halves(key)
        except SignetryError as error:
            yield Finding("keys", "error", f"{reference}: {error}", _whereabouts(house, reference))
            continue
        if certificate is not None and x509.load_der_x509_certificate(certificate).public_key() != key.public_key():
            yield Finding("keys", "error", f"{reference}: it is not the key of its certificate", "restore it from the backup")


def _whereabouts(house: House, reference: str) -> str:
    if house.settings.pkcs11.is_configured and (house.settings.home / "keys" / f"{reference}.key").exists():
        return "there is a file of that name, made before [pkcs11] was set: keys stay where they were made"
    return "restore it from the backup"
