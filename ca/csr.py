"""Certificate requests: read, bounded, their proof of possession verified, and what they ask for by kind (RFC 2986).

Reading is by hand, over the TLV reader, because strict parsers refuse what real clients send (facts/scep.md section 6):
strongSwan missorts the attributes of a request with SAN and challenge, certmonger writes ``@`` into a PrintableString. The public
key and the signature are the library's. Nothing read here becomes a name in a certificate; ``ca.names`` holds it against the
Authorisation.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from ca.errors import BadCertificateRequest, BadProofOfPossession
from ca.key_policy import is_costly
from ca.names import RequestedNames
from ca.wanted import MAX_NAMES, WantedNames, raw_text
from foundation import tlv
from foundation.ber import normalise
from foundation.tlv import Element, MalformedTlv

MAX_SIZE: Final = 65536
MAX_CHALLENGE: Final = 16384
"""Characters of a challengePassword: those of Intune are signed statements of some thousand."""

_CHALLENGE_PASSWORD: Final = "1.2.840.113549.1.9.7"  # noqa: S105 - an OID
# extensionRequest of PKCS #9, and Microsoft's own from before it.
_EXTENSION_REQUESTS: Final = ("1.2.840.113549.1.9.14", "1.3.6.1.4.1.311.2.1.14")
_COMMON_NAME: Final = "2.5.4.3"
_ORGANISATIONAL_UNIT: Final = "2.5.4.11"
_EMAIL_ADDRESS: Final = "1.2.840.113549.1.9.1"

_ATTRIBUTES: Final = 0xA0

# SHA-1 is good enough to show that one holds a key; MD5 is not listed.
_RSA_SIGNATURES: Final[dict[str, hashes.HashAlgorithm]] = {
    "1.2.840.113549.1.1.5": hashes.SHA1(),  # noqa: S303 - see above
    "1.2.840.113549.1.1.14": hashes.SHA224(),
    "1.2.840.113549.1.1.11": hashes.SHA256(),
    "1.2.840.113549.1.1.12": hashes.SHA384(),
    "1.2.840.113549.1.1.13": hashes.SHA512(),
}
_ECDSA_SIGNATURES: Final[dict[str, hashes.HashAlgorithm]] = {
    "1.2.840.10045.4.1": hashes.SHA1(),  # noqa: S303 - see above
    "1.2.840.10045.4.3.1": hashes.SHA224(),
    "1.2.840.10045.4.3.2": hashes.SHA256(),
    "1.2.840.10045.4.3.3": hashes.SHA384(),
    "1.2.840.10045.4.3.4": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """A certificate request whose signature verifies under the key it carries.

    Attributes:
        der: the request as received.
        public_key: the key to be certified; key policy is ``ca.key_policy``'s.
        spki_der: its SubjectPublicKeyInfo, as received.
        subject: the attributes of the subject, in order, as (dotted OID, text).
        requested: the names and rights asked for.
        challenge: the challengePassword; None when absent or blank.
    """

    der: bytes = field(repr=False)  # the challenge is in it
    public_key: PublicKeyTypes
    spki_der: bytes = field(repr=False)
    subject: tuple[tuple[str, str], ...]
    requested: RequestedNames
    challenge: str | None = field(repr=False)

    @property
    def digest(self) -> str:
        """The SHA-256 of the request as received, in hex."""
        return hashlib.sha256(self.der).hexdigest()


def parse_csr(der: bytes) -> CertificateRequest:
    """Read a PKCS #10 request, in DER or BER, and verify its signature over the bytes received.

    Raises:
        BadCertificateRequest: it cannot be read, or exceeds its bounds.
        BadProofOfPossession: the signature does not verify, or is made with MD5 or an unknown algorithm.
    """
    if len(der) > MAX_SIZE:
        raise BadCertificateRequest("the certificate request is too large")
    try:
        try:
            return _Request(der, der).parsed()
        except MalformedTlv:
            return _Request(normalise(der, max_size=MAX_SIZE), der).parsed()
    except MalformedTlv as error:
        raise BadCertificateRequest(f"the certificate request cannot be read: {error}") from error


class _Request:
    """The walk over one request in definite-length encoding; ``received`` is what it looked like before any normalising."""

    def __init__(self, data: bytes, received: bytes) -> None:
        self._data = data
        self._received = received
        outer = tlv.read(data)
        if outer.end != len(data):
            raise MalformedTlv("bytes follow the request")
        self._info, self._algorithm, self._signature = self._fields(outer, 3, 3)
        info = self._fields(self._info, 3, 4)
        self._subject, self._key = info[1], info[2]
        # Some leave the attributes out where there are none, though they are not OPTIONAL.
        self._attributes = info[3] if info[3:] else None
        if self._attributes is not None and self._attributes.tag != _ATTRIBUTES:
            raise MalformedTlv("attributes under another tag")

    def parsed(self) -> CertificateRequest:
        """Return the request, its signature verified."""
        spki_der = self._encoded(self._key)
        public_key = _public_key(spki_der)
        self._verify(public_key)
        subject = tuple(self._subject_attributes())
        attributes = list(self._attribute_values())
        return CertificateRequest(
            der=self._received,
            public_key=public_key,
            spki_der=spki_der,
            subject=subject,
            requested=self._requested(subject, attributes),
            challenge=self._challenge(attributes),
        )

    # --- elements ---

    def _fields(self, element: Element, at_least: int, at_most: int) -> list[Element]:
        found = tlv.children(self._data, element)
        if not at_least <= len(found) <= at_most:
            raise MalformedTlv("a structure with missing or surplus members")
        return found

    def _value(self, element: Element) -> bytes:
        return self._data[element.content : element.end]

    def _encoded(self, element: Element) -> bytes:
        return self._data[element.start : element.end]

    def _oid(self, element: Element) -> str:
        return tlv.dotted(self._encoded(element))

    # --- the proof of possession ---

    def _verify(self, public_key: PublicKeyTypes) -> None:
        bits = self._value(self._signature)
        if self._signature.tag != tlv.BIT_STRING or bits[:1] != b"\0":
            raise MalformedTlv("a signature that is no BIT STRING of whole bytes")
        signed, signature = self._signed_bytes(), bits[1:]
        oid = self._oid(self._fields(self._algorithm, 1, 2)[0])
        try:
            if isinstance(public_key, rsa.RSAPublicKey) and oid in _RSA_SIGNATURES:
                public_key.verify(signature, signed, padding.PKCS1v15(), _RSA_SIGNATURES[oid])
            elif isinstance(public_key, ec.EllipticCurvePublicKey) and oid in _ECDSA_SIGNATURES:
                public_key.verify(signature, signed, ec.ECDSA(_ECDSA_SIGNATURES[oid]))
            else:
                self._verify_by_library()
        except (InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion, ValueError) as error:
            raise BadProofOfPossession("the certificate request is not signed with the key it carries") from error

    def _signed_bytes(self) -> bytes:
        """Return the certificationRequestInfo as received; what came with indefinite length was signed in DER."""
        try:
            outer = tlv.read(self._received)
            info = tlv.read(self._received, outer.content, outer.end)
        except MalformedTlv:
            return self._encoded(self._info)
        return self._received[info.start : info.end]

    def _verify_by_library(self) -> None:
        """Verify what is rarer (Ed25519, RSASSA-PSS): the library knows it, for requests that it reads, and lets no MD5 pass."""
        if not x509.load_der_x509_csr(self._data).is_signature_valid:
            raise InvalidSignature

    # --- what is asked for ---

    def _subject_attributes(self) -> Iterator[tuple[str, str]]:
        count = 0
        for relative_name in tlv.children(self._data, self._subject):
            for attribute in tlv.children(self._data, relative_name):
                kind, value = self._fields(attribute, 2, 2)
                count += 1
                if count > MAX_NAMES:
                    raise MalformedTlv("too many subject attributes")
                yield self._oid(kind), _lenient_text(value.tag, self._value(value))

    def _attribute_values(self) -> Iterator[tuple[str, Element]]:
        """Yield every value of every attribute, with the attribute's OID."""
        if self._attributes is None:
            return
        for attribute in tlv.children(self._data, self._attributes):
            kind, values = self._fields(attribute, 2, 2)
            oid = self._oid(kind)
            for value in tlv.children(self._data, values):
                yield oid, value

    def _challenge(self, attributes: list[tuple[str, Element]]) -> str | None:
        values = [value for oid, value in attributes if oid == _CHALLENGE_PASSWORD]
        if not values:
            return None
        if len(values) > 1:
            raise MalformedTlv("more than one challengePassword")
        challenge = tlv.text(values[0].tag, self._value(values[0]))
        if len(challenge) > MAX_CHALLENGE:
            raise MalformedTlv("the challengePassword is too long")
        return challenge or None

    def _requested(self, subject: tuple[tuple[str, str], ...], attributes: list[tuple[str, Element]]) -> RequestedNames:
        wanted = WantedNames()
        for oid, value in attributes:
            if oid in _EXTENSION_REQUESTS:
                for extension in tlv.children(self._data, value):
                    members = self._fields(extension, 2, 3)
                    content = members[-1]
                    if content.tag != tlv.OCTET_STRING:
                        raise MalformedTlv("an extension without a value")
                    wanted.add_extension(self._oid(members[0]), self._value(content))
        common_names = [text for oid, text in subject if oid == _COMMON_NAME]
        return RequestedNames(
            common_name=common_names[-1] if common_names else "",
            emails=(*(text for oid, text in subject if oid == _EMAIL_ADDRESS), *wanted.emails),
            upns=tuple(wanted.upns),
            dns_names=tuple(wanted.dns_names),
            uris=tuple(wanted.uris),
            sids=tuple(wanted.sids),
            other=tuple(wanted.other),
            wants_ca=wanted.wants_ca,
            organisational_units=tuple(text for oid, text in subject if oid == _ORGANISATIONAL_UNIT),
        )


def _public_key(spki_der: bytes) -> PublicKeyTypes:
    try:
        public_key = serialization.load_der_public_key(spki_der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadCertificateRequest("the public key of the certificate request cannot be read") from error
    if isinstance(public_key, rsa.RSAPublicKey) and is_costly(public_key):
        raise BadCertificateRequest("the RSA key of the certificate request is oversized")
    return public_key


def _lenient_text(tag: int, content: bytes) -> str:
    """Return the text of a subject attribute. The subject is never copied, so a broken one is no reason to refuse."""
    try:
        return tlv.text(tag, content)
    except MalformedTlv:
        return raw_text(content)
