"""What requests to a server are made with: the best of what its GetCACaps lists (RFC 8894 section 3.5.2).

Nobody signs GetCACaps. Whoever takes words out of it on the way brings a request to fail, and no more: below SHA-256 and AES
nothing is sent, unless the caller says so.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from scep.algorithms import PKCS1_V15, Cipher, Digest, KeyTransport, Suite
from scep.errors import ServerLacks

OAEP: Final = KeyTransport(oaep=Digest.SHA256, mgf=Digest.SHA256)

# SCEPStandard stands for AES, POSTPKIOperation and SHA-256 together.
_STANDARD: Final = "SCEPStandard"
_DIGESTS: Final = (("SHA-256", Digest.SHA256), ("SHA-512", Digest.SHA512), ("SHA-384", Digest.SHA384))


@dataclass(frozen=True, slots=True)
class Terms:
    """How a server is spoken to."""

    suite: Suite
    posts: bool


def terms_of(capabilities: AbstractSet[str], *, legacy: bool = False, oaep: bool = False) -> Terms:
    """Return the terms for a server of these ``capabilities``.

    AES means AES-128 there, and nothing says whether a server takes more.

    Args:
        capabilities: the keywords of GetCACaps.
        legacy: whether SHA-1 and triple DES may be used where nothing better is listed.
        oaep: whether the content key is encrypted with RSAES-OAEP over SHA-256, of which GetCACaps says nothing.

    Raises:
        ServerLacks: what is listed would mean SHA-1 or triple DES.
    """
    known = capabilities | {"AES", "POSTPKIOperation", "SHA-256"} if _STANDARD in capabilities else capabilities
    digest = next((digest for keyword, digest in _DIGESTS if keyword in known), Digest.SHA1)
    cipher = Cipher.AES128 if "AES" in known else Cipher.DES3
    if not legacy and (digest is Digest.SHA1 or cipher is Cipher.DES3):
        missing = " and ".join(
            word for word, lacking in (("SHA-256", digest is Digest.SHA1), ("AES", cipher is Cipher.DES3)) if lacking
        )
        raise ServerLacks(f"the server's GetCACaps does not list {missing}; what is older has to be permitted as legacy")
    return Terms(Suite(digest, cipher, OAEP if oaep else PKCS1_V15), "POSTPKIOperation" in known)
