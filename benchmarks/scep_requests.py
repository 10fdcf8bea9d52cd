"""PKCSReqs by the hundred: valid, each distinct, made before the clock runs."""

import secrets
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from scep import client, message
from scep.algorithms import Cipher, Digest, Suite
from scep.message import MessageType

_CLIENT_KEYS = 16


class Requests:
    """Makes requests, signed by one of a few RSA-2048 keys made beforehand."""

    def __init__(self) -> None:
        self._keys = [rsa.generate_private_key(65537, 2048) for _ in range(_CLIENT_KEYS)]
        self._signers = [client.throwaway_signer(key, client.named(f"client {number}")) for number, key in enumerate(self._keys)]

    def make(self, ra: x509.Certificate, challenges: Sequence[str]) -> list[bytes]:
        """Return a PKCSReq for each challenge, sealed to ``ra``."""
        return [self._one(ra, number, challenge) for number, challenge in enumerate(challenges)]

    def _one(self, ra: x509.Certificate, number: int, challenge: str) -> bytes:
        signer = self._signers[number % _CLIENT_KEYS]
        csr = client.build_csr(self._keys[number % _CLIENT_KEYS], f"device {secrets.token_hex(8)}", challenge)
        return message.build_request(
            signer,
            ra,
            csr.public_bytes(Encoding.DER),
            message_type=MessageType.PKCS_REQ,
            transaction_id=secrets.token_hex(16),
            sender_nonce=message.new_nonce(),
            suite=Suite(digest=Digest.SHA256, cipher=Cipher.AES128),
        )
