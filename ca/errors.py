"""What the authority refuses, each refusal in one of the categories of ``foundation/errors.py``."""

from foundation.errors import BadRequest, Conflict, NotFound, RefusedByPolicy, Unavailable


class BadCertificateRequest(BadRequest):
    """A certificate request that cannot be read, or exceeds its bounds."""


class BadProofOfPossession(BadRequest):
    """A certificate request whose signature does not verify under the key it carries (RFC 2986 section 4.2)."""


class NamesNotAuthorised(BadRequest):
    """A request asks for a name, or a right, that its Authorisation does not hold; the message says which."""


class NamesMissing(RefusedByPolicy):
    """The profile needs a name that the subject's record does not have; the message says which."""


class WeakKey(RefusedByPolicy):
    """The public key is too short, of a family the profile does not allow, or known to be weak."""


class ProfileNotAllowed(RefusedByPolicy):
    """The authority does not issue under this profile, or there is no such profile."""


class IssuerNotValid(Unavailable):
    """The issuing authority is itself not valid now: its certificate has expired, or is not in force yet."""


class KeyUnavailable(Unavailable):
    """A private key of the authority cannot be used; the message never tells what its file holds or where it lies."""


class TokenUnavailable(KeyUnavailable):
    """The token that keeps the keys cannot be used now. ``detail`` says why, to administrators only: it may name the token."""

    def __init__(self, detail: str) -> None:
        super().__init__("the token that keeps the private keys cannot be used now")
        self.detail = detail


class PinRefused(TokenUnavailable):
    """The token does not take the PIN, or must not be asked again lest it locks."""


class KeyMissing(KeyUnavailable):
    """There is no such key in the token."""


class KeyNotExtractable(RefusedByPolicy):
    """A private key that never leaves its token was asked for."""


class KeyExists(Conflict):
    """A key of this name is already kept."""


class UnsafeSecretFile(RefusedByPolicy):
    """A file that holds a secret can be read by others than its owner."""


class UnknownAuthority(NotFound):
    """There is no certification authority of this name."""


class BadAuthorityName(BadRequest):
    """No authority can have this name: too long for a common name, or the same as its issuer's."""


class AuthorityExists(Conflict):
    """A certification authority of this name is already there."""


class UnknownCertificate(NotFound):
    """No certificate of ours has this serial number."""


class AlreadyRevoked(Conflict):
    """The certificate is revoked already."""


class NotOnHold(Conflict):
    """Only a certificate on hold can be released."""


class BadSerial(BadRequest):
    """What was given is no serial number in hexadecimal."""


class BadRevocation(BadRequest):
    """A reason or an invalidity date that a revocation cannot have."""


class SelfRevocation(RefusedByPolicy):
    """A root cannot take back its own certificate: nobody would believe, or need, the CRL that says so."""


class UnreadableCertificates(BadRequest):
    """What was given holds no certificate, or none that can be read."""


class ChainRefused(RefusedByPolicy):
    """The certificate given for an authority, or one above it, would not verify or could not be used; the message says why."""


class CertificateAwaited(Unavailable):
    """The authority has a key and no certificate yet: somebody else's authority is to make it."""


class ForeignAuthority(RefusedByPolicy):
    """The act takes the key of an authority that is not ours."""


class RolloverRefused(Conflict):
    """A lineage is not in the state that the step of a roll-over needs, or somebody would lose by it; the message says which."""
