"""The envelope of a reply, as its requester opens it: by RSA, by key agreement, or with the challenge (RFC 8894 section 3.1)."""

from foundation import tlv
from scep import envelope, key_agreement, key_transport, password_recipient
from scep.envelope import SealedContent
from scep.errors import AlgorithmRefused, EnvelopeUndecryptable, ScepRefusal
from scep.signing import Signer


def open_reply(data: bytes, key: Signer, challenge: str = "") -> bytes:
    """Return what is in a ContentInfo with an EnvelopedData for ``key``, or for whoever knows ``challenge``.

    Raises:
        MalformedMessage: it is no EnvelopedData.
        AlgorithmRefused: it is sealed with what is not implemented, or for none of the two.
        EnvelopeUndecryptable: it does not open.
    """
    sealed = envelope.read_envelope(data)
    refusal: ScepRefusal = AlgorithmRefused("the envelope is neither for our key nor for our challenge")
    for info in sealed.recipient_infos:
        try:
            if info[0] == key_transport.RECIPIENT_TAG:
                return envelope.open_envelope(data, [key]).content
            if info[0] == key_agreement.RECIPIENT_TAG:
                return _opened(sealed, key_agreement.unwrap(info, key))
            if info[0] == password_recipient.RECIPIENT_TAG and challenge:
                return _opened(sealed, password_recipient.unwrap(info, challenge))
        except ScepRefusal as error:
            # Another recipient of the same envelope may be us all the same.
            refusal = error
        except tlv.MalformedTlv:
            continue
    raise refusal


def _opened(sealed: SealedContent, content_key: bytes) -> bytes:
    content = sealed.decrypt(content_key) if len(content_key) == sealed.cipher.key_size else None
    if content is None:
        raise EnvelopeUndecryptable
    return content
