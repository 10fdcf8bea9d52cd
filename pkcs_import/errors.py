"""What can go wrong between a PKCS #12 and its owner. The messages name files, persons and certificates, never a secret."""

from foundation.errors import BadRequest, Conflict, NotAuthorised, NotFound, RefusedByPolicy, Unavailable


class BadContainer(BadRequest):
    """A file that cannot be imported; each reason is a class of its own."""


class NotPkcs12(BadContainer):
    """It is something else, or damaged."""


class TruncatedContainer(BadContainer):
    """It ends too early."""


class ContainerTooBig(BadContainer):
    """It has more bytes, certificates or keys than are read."""


class ContainerTooSlow(BadContainer):
    """It asks for more iterations, or takes longer, than it is given."""


class WrongPassword(BadContainer):
    """The password does not open it."""


class NoPrivateKey(BadContainer):
    """There is no private key in it, or none that can be read."""


class NoCertificate(BadContainer):
    """There is no certificate in it for any of its keys."""


class KeyMismatch(BadContainer):
    """Key and certificate do not belong together."""


class UnsupportedKey(BadContainer):
    """A key or an encryption of a kind that is not read here."""


class NoSuchOwner(NotFound):
    """Nobody on record is whose certificate it is."""


class OwnerAmbiguous(Conflict):
    """Several persons could be."""


class ConcernRefused(RefusedByPolicy):
    """The certificate says what the settings do not let into the archive."""


class UnknownArchivedKey(NotFound):
    """There is no such key in the archive."""


class NoArchiveKey(Unavailable):
    """There is no key yet to seal private keys to: ``signetry archive create`` makes one."""


class ArchiveUnavailable(Unavailable):
    """The archive process does not answer."""


class SealBroken(Conflict):
    """What is stored does not open under what it is bound to: somebody exchanged or changed it."""


class DeliveryRefused(NotAuthorised):
    """Nothing is handed out to this device or person."""


class UnknownDelivery(NotFound):
    """There is no such delivery, or it is over."""


class UnknownRecovery(NotFound):
    """There is no such recovery request."""


class RecoveryRefused(NotAuthorised):
    """The request is not approved, not by another, too old, or was used."""
