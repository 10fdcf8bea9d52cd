"""From an authority's key and a heap of certificates to the chain above it, judged as verifiers will judge it. Pure.

Source: RFC 5280 section 6.1, as far as it concerns authorities: signatures, validity, basicConstraints with path length, key
usage, name constraints on the names of those below, critical extensions that nobody knows. Verifiers differ on whether the
root's own limits bind; OpenSSL and Windows let them, so they do here. It asks no verifier to match an authorityKeyIdentifier
(section 4.2.1.1); OpenSSL does. Where certificates allow several chains (cross-signed roots), the shortest that passes is taken.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from ca.errors import ChainRefused
from ca.keys import PublicKey
from ca.limits import limits_of
from ca.signatures import broken_hash, is_issued_by, is_self_signed
from ca.subject import UPN

Value = TypeVar("Value", bound=x509.ExtensionType)

MAX_LENGTH = 8
# Chains looked at for one certificate: cross-certificates could be arranged to make very many.
_MAX_CHAINS = 64
_MAX_STEPS = 2000
_MAX_SERIAL_BITS = 160
_RSA_BITS_AT_LEAST = 2048
_KNOWN = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.NameConstraints,
    x509.CertificatePolicies,
    x509.PolicyConstraints,
    x509.InhibitAnyPolicy,
    x509.SubjectAlternativeName,
    x509.IssuerAlternativeName,
    x509.CRLDistributionPoints,
    x509.SubjectKeyIdentifier,
    x509.AuthorityKeyIdentifier,
    x509.AuthorityInformationAccess,
)
_POLICY_MAPPINGS = x509.ObjectIdentifier("2.5.29.33")


@dataclass(frozen=True, slots=True)
class Chain:
    """An authority's certificate first, then those above it, the self-signed root last; and what is odd about them."""

    certificates: tuple[x509.Certificate, ...]
    warnings: tuple[str, ...] = ()


def find_chain(
    own_key: PublicKey, given: Sequence[x509.Certificate], known: Sequence[x509.Certificate], *, now: datetime
) -> Chain:
    """Find the certificate over ``own_key`` among ``given`` and a chain above it, made of ``given`` and ``known``.

    Raises:
        ChainRefused: there is none that verifiers would accept; the message says what stands in the way.
    """
    own = [certificate for certificate in given if _is_over(certificate, own_key)]
    if not own:
        raise ChainRefused(
            "none of the certificates given is over this authority's key: have the request signed that signetry ca csr prints"
        )
    refusal: ChainRefused | None = None
    search = _Search([*dict.fromkeys((*given, *known))])
    # Where the former certificate is among them, the latest is meant.
    for certificate in sorted(own, key=lambda each: each.not_valid_before_utc, reverse=True):
        try:
            _check_own(certificate)
            return _best(search.chains(certificate), now)
        except ChainRefused as error:
            refusal = refusal or error
    raise refusal or ChainRefused("no chain was found")


def find_chain_to(
    roots: Sequence[x509.Certificate], leaf: x509.Certificate, given: Sequence[x509.Certificate], *, now: datetime
) -> Chain:
    """Find a chain above the end entity ``leaf`` that ends in one of ``roots``, made of ``given`` and other ``roots``.

    Raises:
        ChainRefused: there is none that verifiers would accept; the message says what stands in the way.
    """
    chains = _Search([*dict.fromkeys((*roots, *given))]).chains(leaf)
    trusted = [chain for chain in chains if chain[-1] in roots]
    if not trusted:
        raise ChainRefused(f"{title(leaf)} leads to {title(chains[0][-1])}, which is not trusted here")
    return _best(trusted, now)


def title(certificate: x509.Certificate) -> str:
    """Return what a message calls a certificate."""
    return certificate.subject.rfc4514_string() or f"the certificate {certificate.serial_number:x}"


def _is_over(certificate: x509.Certificate, key: PublicKey) -> bool:
    try:
        return certificate.public_key() == key
    except (ValueError, UnsupportedAlgorithm):
        return False


def _is_same_authority(one: x509.Certificate, other: x509.Certificate) -> bool:
    if one.subject != other.subject:
        return False
    try:
        return one.public_key() == other.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return one == other


def _check_own(certificate: x509.Certificate) -> None:
    if is_self_signed(certificate):
        raise ChainRefused(f"{title(certificate)} is self-signed; what is wanted comes from the authority above")
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise ChainRefused(
            f"{title(certificate)} is no CA certificate (basicConstraints CA:true is missing): "
            "it must be made from the template or profile of a subordinate authority"
        )
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and not (usage.key_cert_sign and usage.crl_sign):
        raise ChainRefused(f"{title(certificate)} lacks the key usage keyCertSign or cRLSign: an authority needs both")
    if _extension(certificate, x509.SubjectKeyIdentifier) is None:
        raise ChainRefused(f"{title(certificate)} has no subjectKeyIdentifier, which RFC 5280 asks of an authority")
    if not list(certificate.subject):
        raise ChainRefused("the certificate has an empty subject, which RFC 5280 forbids an authority")


class _Search:
    """The ways up from a certificate through a heap of them."""

    def __init__(self, heap: Sequence[x509.Certificate]) -> None:
        self._heap = heap
        self._steps = 0
        self._signed: dict[tuple[x509.Certificate, x509.Certificate], bool] = {}

    def chains(self, certificate: x509.Certificate) -> list[tuple[x509.Certificate, ...]]:
        """Return the complete chains above ``certificate``, shortest first.

        Raises:
            ChainRefused: there is none, and whose certificate is missing.
        """
        ends: list[x509.Certificate] = []
        self._steps = 0
        found: list[tuple[x509.Certificate, ...]] = []
        for chain in self._walk((certificate,), ends):
            found.append(chain)
            if len(found) >= _MAX_CHAINS:
                break
        if found:
            return sorted(found, key=len)
        end = ends[-1] if ends else certificate
        raise ChainRefused(
            f"the certificate of {end.issuer.rfc4514_string()}, who issued {title(end)}, is missing or is over another key; "
            "the chain must reach up to a self-signed root"
        )

    def _walk(self, chain: tuple[x509.Certificate, ...], ends: list[x509.Certificate]) -> Iterator[tuple[x509.Certificate, ...]]:
        last = chain[-1]
        if len(chain) > 1 and self._is_signed(last, last):
            yield chain
            return
        self._steps += 1
        if len(chain) >= MAX_LENGTH or self._steps > _MAX_STEPS:
            return
        # The same authority twice, under whichever of its certificates, would be a detour.
        issuers = [
            each
            for each in self._heap
            if each.subject == last.issuer
            and not any(_is_same_authority(each, passed) for passed in chain)
            and self._is_signed(last, each)
        ]
        if not issuers:
            ends.append(last)
        for issuer in issuers:
            yield from self._walk((*chain, issuer), ends)

    def _is_signed(self, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
        pair = (certificate, issuer)
        if pair not in self._signed:
            self._signed[pair] = is_issued_by(certificate, issuer)
        return self._signed[pair]


def _best(chains: list[tuple[x509.Certificate, ...]], now: datetime) -> Chain:
    refusal: ChainRefused | None = None
    for chain in chains:
        try:
            for position in range(len(chain)):
                _judge(chain, position, now)
            return Chain(chain, tuple(_oddities(chain)))
        except ChainRefused as error:
            refusal = refusal or error
    raise refusal or ChainRefused("no chain was found")


def _judge(chain: tuple[x509.Certificate, ...], position: int, now: datetime) -> None:
    """Hold one certificate of a chain to RFC 5280."""
    certificate = chain[position]
    name = title(certificate)
    if now < certificate.not_valid_before_utc:
        raise ChainRefused(f"{name} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC")
    if now > certificate.not_valid_after_utc:
        raise ChainRefused(f"{name} expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if certificate.serial_number <= 0 or certificate.serial_number.bit_length() > _MAX_SERIAL_BITS:
        raise ChainRefused(f"{name} has a serial number outside of what RFC 5280 section 4.1.2.2 allows")
    for extension in certificate.extensions:
        if extension.critical and not isinstance(extension.value, _KNOWN) and extension.oid != _POLICY_MAPPINGS:
            raise ChainRefused(f"{name} has a critical extension {extension.oid.dotted_string} that verifiers do not know")
    if position < len(chain) - 1:
        _judge_signature(certificate, chain[position + 1])
    if position:
        _judge_issuer(chain, position)


def _judge_signature(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    name = title(certificate)
    if broken := broken_hash(certificate):
        raise ChainRefused(f"{name} is signed with {broken}, which verifiers refuse: its issuer must make it anew")
    named = _extension(certificate, x509.AuthorityKeyIdentifier)
    if named is None:
        return
    own = _extension(issuer, x509.SubjectKeyIdentifier)
    issuers_issuers = [each.value for each in named.authority_cert_issuer or () if isinstance(each, x509.DirectoryName)]
    if (
        (named.key_identifier is not None and own is not None and named.key_identifier != own.digest)
        or (named.authority_cert_serial_number not in (None, issuer.serial_number))
        or (issuers_issuers and issuer.issuer not in issuers_issuers)
    ):
        raise ChainRefused(
            f"{name} names another certificate of {title(issuer)} as its issuer's (authorityKeyIdentifier) than the one given"
        )


def _judge_issuer(chain: tuple[x509.Certificate, ...], position: int) -> None:
    issuer, below = chain[position], chain[:position]
    name = title(issuer)
    constraints = _extension(issuer, x509.BasicConstraints)
    # Roots of version 1, or from before RFC 2459, say nothing about it; as a trust anchor such a one is taken all the same.
    is_anchor = position == len(chain) - 1
    if (constraints is None and not is_anchor) or (constraints is not None and not constraints.ca):
        raise ChainRefused(f"{name} is no CA certificate, and cannot have issued one")
    usage = _extension(issuer, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise ChainRefused(f"{name} lacks the key usage keyCertSign")
    # Self-issued certificates, as of a change of key, do not count.
    authorities_below = sum(each.subject != each.issuer for each in below)
    if constraints is not None and constraints.path_length is not None and authorities_below > constraints.path_length:
        raise ChainRefused(
            f"{name} allows {constraints.path_length} authorities below it (pathLenConstraint), and there are {authorities_below}"
        )
    limits = limits_of([issuer])
    for each in below:
        for general_name in _names(each):
            if (each.subject != each.issuer or each is chain[0]) and not limits.permits(general_name):
                raise ChainRefused(f"{name} does not allow the name of {title(each)} (name constraints)")


def _names(certificate: x509.Certificate) -> Iterator[x509.GeneralName]:
    """Yield what name constraints above hold a certificate to."""
    yield x509.DirectoryName(certificate.subject)
    yield from _extension(certificate, x509.SubjectAlternativeName) or ()
    # RFC 5280 section 4.2.1.10 asks it of certificates without a subjectAltName, OpenSSL of all.
    for attribute in certificate.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
        try:
            yield x509.RFC822Name(str(attribute.value))
        except ValueError:
            raise ChainRefused(f"{title(certificate)} holds a mail address that is none") from None


def _oddities(chain: tuple[x509.Certificate, ...]) -> Iterator[str]:
    for certificate in chain[:-1]:
        if certificate.not_valid_after_utc > chain[-1].not_valid_after_utc:
            yield f"{title(certificate)} outlives its root {title(chain[-1])}"
    for certificate in chain:
        key = certificate.public_key()
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < _RSA_BITS_AT_LEAST:
            yield f"{title(certificate)} has an RSA key of {key.key_size} bits, which many verifiers refuse"
        if any(isinstance(each, x509.OtherName) and each.type_id == UPN for each in _subtrees(certificate)):
            yield f"{title(certificate)} constrains UPNs: OpenSSL refuses every certificate below that holds one"
        policies = _extension(certificate, x509.PolicyConstraints)
        if policies is not None and policies.require_explicit_policy is not None:
            yield (
                f"{title(certificate)} requires an explicit policy: what is issued without is refused where policies are checked"
            )


def _subtrees(certificate: x509.Certificate) -> Sequence[x509.GeneralName]:
    constraints = _extension(certificate, x509.NameConstraints)
    return () if constraints is None else [*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ())]


def _extension(certificate: x509.Certificate, kind: type[Value]) -> Value | None:
    found = [extension.value for extension in certificate.extensions if isinstance(extension.value, kind)]
    return found[0] if found else None
