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


class FileUnreadable(BadContainer):
    """It is not there, or may not be read."""


class BadImportList(BadRequest):
    """The list of files as a whole cannot be used; nothing was imported."""


class NotForPurpose(BadContainer):
    """None of its certificates is for what it is wanted for."""


class NoSuchOwner(NotFound):
    """Nobody on record is whose certificate it is."""


class OwnerAmbiguous(Conflict):
    """Several persons could be."""


class ConcernRefused(RefusedByPolicy):
    """The certificate says what the settings do not let into the archive."""


class NotForEscrow(RefusedByPolicy):
    """A certificate over a key that is made here must not say what this one would."""


class UnknownArchivedKey(NotFound):
    """There is no such key in the archive."""


class NoArchiveKey(Unavailable):
    """There is no key yet to seal private keys to: ``signetry archive create`` makes one."""


class WorkshopUnavailable(Unavailable):
    """No process is to be had that reads or makes keys; the same request may succeed later."""


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


class NotPacked(Conflict):
    """A delivery does not hold what was to be uploaded: the archive has changed since it was looked at."""
