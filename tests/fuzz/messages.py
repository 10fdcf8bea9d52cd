"""Mutated SCEP messages: broken outside, or broken inside with valid signatures and envelopes around the break."""

import random
from collections.abc import Iterator, Sequence
from typing import Final

from cryptography import x509

from foundation import tlv
from scep import message
from scep.algorithms import Cipher, Digest, KeyTransport, Suite
from scep.message import MessageType, build_request
from scep.queries import IssuerAndSerial, IssuerAndSubject, write_issuer_and_serial, write_issuer_and_subject
from scep.signing import Signer, attribute, sign
from tests.fuzz.mutations import mutate

# Mostly what every endpoint accepts, or few messages would get past the check of their algorithms.
_CIPHERS: Final = (Cipher.AES128, Cipher.AES128, Cipher.AES256, Cipher.AES256, Cipher.DES3, Cipher.DES)
_DIGESTS: Final = (Digest.SHA256, Digest.SHA256, Digest.SHA256, Digest.SHA512, Digest.SHA512, Digest.SHA1)
_TYPES: Final = (MessageType.PKCS_REQ, MessageType.PKCS_REQ, MessageType.PKCS_REQ, MessageType.RENEWAL_REQ, MessageType.CERT_POLL)
_BROKEN_QUESTIONS: Final = 0.8
_QUESTIONS: Final = (MessageType.CERT_POLL, MessageType.GET_CERT, MessageType.GET_CRL)
_TRANSPORTS: Final = (KeyTransport(), KeyTransport(), KeyTransport(Digest.SHA1), KeyTransport(Digest.SHA256, Digest.SHA256))


class MessageSource:
    """An endless source of mutants, the same ones for the same ``seed``.

    Args:
        seed: where the sequence starts.
        originals: whole messages to be mutated from outside.
        signer: who signs the messages that are broken inside.
        recipient: the RA certificate they are enveloped to.
        request: the certificate request in them.
    """

    def __init__(
        self,
        seed: int,
        originals: Sequence[bytes],
        *,
        signer: Signer,
        recipient: x509.Certificate,
        request: bytes,
    ) -> None:
        self._random = random.Random(seed)
        self._originals = originals
        self._signer = signer
        self._recipient = recipient
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        """Yield mutants for ever."""
        makers = (self._outside, self._outside, self._attributes, self._envelope, self._certificate_request, self._question)
        while True:
            yield self._random.choice(makers)()

    def _outside(self) -> bytes:
        return mutate(self._random, self._random.choice(self._originals))

    def _attributes(self) -> bytes:
        """Return a message whose signed attributes are odd, and signed all the same."""
        nonce = self._random.randbytes(self._random.choice((0, 8, 16, 65)))
        attributes = [
            attribute(message.TRANSACTION_ID, tlv.printable_string(str(self._random.getrandbits(64)))),
            attribute(
                message.MESSAGE_TYPE, tlv.printable_string(self._random.choice(("3", "17", "18", "19", "20", "21", "22", "99")))
            ),
            attribute(message.SENDER_NONCE, tlv.octet_string(nonce)),
            attribute(message.CHALLENGE_PASSWORD, tlv.utf8_string("sesame")),
        ]
        victim = self._random.randrange(len(attributes))
        attributes[victim] = mutate(self._random, attributes[victim])
        return sign(self._signer, self._random.choice(self._originals)[:2000], attributes, Digest.SHA256)

    def _envelope(self) -> bytes:
        """Return a message whose envelope is broken, under a valid signature."""
        whole = self._built(self._request)
        content = message.parse(whole).content
        return self._signed(mutate(self._random, content))

    def _certificate_request(self) -> bytes:
        """Return a message whose certificate request is broken, under a valid envelope and signature."""
        return self._built(mutate(self._random, self._request))

    def _question(self) -> bytes:
        """Return a CertPoll, GetCert or GetCRL that is broken inside, or (some of the time) whole."""
        message_type = self._random.choice(_QUESTIONS)
        issuer = self._recipient.issuer.public_bytes()
        serial_number = self._random.choice((self._recipient.serial_number, self._random.getrandbits(128), 0, -1))
        content = (
            write_issuer_and_subject(IssuerAndSubject(issuer, self._signer.certificate.subject.public_bytes()))
            if message_type == MessageType.CERT_POLL
            else write_issuer_and_serial(IssuerAndSerial(issuer, serial_number))
        )
        if self._random.random() < _BROKEN_QUESTIONS:
            content = mutate(self._random, content)
        return self._built(content, message_type)

    def _signed(self, content: bytes) -> bytes:
        attributes = (
            attribute(message.TRANSACTION_ID, tlv.printable_string(str(self._random.getrandbits(64)))),
            attribute(message.MESSAGE_TYPE, tlv.printable_string("19")),
            attribute(message.SENDER_NONCE, tlv.octet_string(self._random.randbytes(16))),
        )
        return sign(self._signer, content, attributes, self._random.choice(_DIGESTS))

    def _built(self, content: bytes, message_type: MessageType | None = None) -> bytes:
        suite = Suite(self._random.choice(_DIGESTS), self._random.choice(_CIPHERS), self._random.choice(_TRANSPORTS))
        return build_request(
            self._signer,
            self._recipient,
            content,
            message_type=self._random.choice(_TYPES) if message_type is None else message_type,
            transaction_id=str(self._random.getrandbits(64)),
            sender_nonce=self._random.randbytes(16),
            suite=suite,
        )
