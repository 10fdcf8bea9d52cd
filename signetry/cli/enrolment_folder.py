"""The folder of ``signetry enrol``: what is kept before anything is sent, so that a run that was cut short is taken up again.

``key.pem``, ``certificate.pem`` and ``chain.pem`` are what stays. ``request.pem`` is there until its certificate is (the
challenge is in it), ``pending.json`` while the server has not decided, ``next/`` while a renewal is under way. ``next-ca.pem``
names the CA that is to follow, as today's signed for it, and the fingerprint under which that was believed.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from foundation.errors import BadRequest
from foundation.files import replace_private
from scep.ca_certificates import CaBag, plain_fingerprint
from scep.client_keys import Application, ClientKey, Identity, KeyKind, build_csr, challenge_in, generate_key
from scep.key_agreement import can_agree

_KEY, _REQUEST, _CERTIFICATE, _CHAIN = "key.pem", "request.pem", "certificate.pem", "chain.pem"
_PENDING, _NEXT, _NEXT_CA = "pending.json", "next", "next-ca.pem"


@dataclass(frozen=True, slots=True)
class EnrolmentFolder:
    """The files of one certificate at ``path``."""

    path: Path

    @property
    def certificate_path(self) -> Path:
        """Where the certificate is, or will be."""
        return self.path / _CERTIFICATE

    @property
    def is_certified(self) -> bool:
        """Whether the certificate is there."""
        return self.certificate_path.exists()

    @property
    def is_unfinished(self) -> bool:
        """Whether a request is there whose certificate may still come."""
        return (self.path / _REQUEST).exists()

    @property
    def following(self) -> "EnrolmentFolder":
        """The folder inside it for a renewal under way."""
        return EnrolmentFolder(self.path / _NEXT)

    # --- keys and requests ---

    def application(
        self, subject: str | x509.Name, challenge: str, kind: KeyKind, held: Identity | None = None, key: ClientKey | None = None
    ) -> Application:
        """Return what is to be sent, kept before it is sent: after a lost answer this very request is repeated.

        Args:
            subject: the name in the request.
            challenge: what is presented, or empty.
            kind: what key to make where there is none yet.
            held: the certificate to be renewed.
            key: the key to be used where there is none yet, instead of a new one.

        Raises:
            BadRequest: the key that is there cannot be used.
        """
        if not (self.path / _KEY).exists():
            self.write_key(key or generate_key(kind))
        key = self.key()
        kept = self._kept_request()
        if kept is not None and kept.public_key() == key.public_key() and challenge_in(kept) == challenge:
            return Application(kept, key, held)
        csr = build_csr(key, subject, challenge)
        replace_private(self.path / _REQUEST, csr.public_bytes(Encoding.PEM))
        return Application(csr, key, held)

    def _kept_request(self) -> x509.CertificateSigningRequest | None:
        try:
            return x509.load_pem_x509_csr((self.path / _REQUEST).read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def key(self) -> ClientKey:
        """Return the key.

        Raises:
            BadRequest: it is missing, encrypted, or of a kind that cannot be used.
        """
        path = self.path / _KEY
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except FileNotFoundError:
            raise BadRequest(f"{path} is missing") from None
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise BadRequest(f"{path} holds no private key that can be read without a passphrase") from None
        if isinstance(key, rsa.RSAPrivateKey) or (isinstance(key, ec.EllipticCurvePrivateKey) and can_agree(key.public_key())):
            return key
        raise BadRequest(f"{path} is neither an RSA key nor one on P-256, P-384 or P-521")

    def write_key(self, key: ClientKey) -> None:
        """Keep ``key``, not encrypted, for its owner alone."""
        pem = key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        replace_private(self.path / _KEY, pem)

    def identity(self) -> Identity:
        """Return the certificate and its key.

        Raises:
            BadRequest: one of them is missing or unreadable.
        """
        try:
            certificate = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())
        except FileNotFoundError:
            raise BadRequest(f"{self.certificate_path} is missing") from None
        except ValueError:
            raise BadRequest(f"{self.certificate_path} holds no certificate") from None
        return Identity(certificate, self.key())

    # --- what the server said ---

    def note_pending(self, application: Application) -> None:
        """Keep that the server has not decided about ``application``: the next run asks for its decision."""
        note = json.dumps({"transaction_id": application.transaction_id})
        replace_private(self.path / _PENDING, note.encode() + b"\n")

    def is_pending(self, application: Application) -> bool:
        """Say whether the server was last heard not to have decided about ``application``."""
        try:
            note = json.loads((self.path / _PENDING).read_bytes())
        except (FileNotFoundError, ValueError):
            return False
        return isinstance(note, dict) and note.get("transaction_id") == application.transaction_id

    def forget_request(self) -> None:
        """Drop the request, with the challenge in it: it is decided. The key stays."""
        (self.path / _PENDING).unlink(missing_ok=True)
        (self.path / _REQUEST).unlink(missing_ok=True)

    def write_certificate(self, certificate: x509.Certificate) -> None:
        """Keep a certificate."""
        replace_private(self.certificate_path, certificate.public_bytes(Encoding.PEM))

    def write_chain(self, bag: CaBag) -> None:
        """Keep the certificates above it."""
        replace_private(self.path / _CHAIN, _pem(certificate for certificate in bag.certificates if certificate != bag.ra))

    def adopt_following(self) -> bool:
        """Put a renewed pair, once complete, in the place of the old one; an interrupted move is finished by the next run."""
        following = self.following
        if not following.is_certified:
            return False
        if (following.path / _KEY).exists():
            (following.path / _KEY).replace(self.path / _KEY)
        following.certificate_path.replace(self.certificate_path)
        following.forget_request()
        with suppress(OSError):
            # It may hold what a crash left of an unfinished file.
            following.path.rmdir()
        return True

    # --- the CA to come ---

    def next_ca(self, fingerprint: str) -> tuple[x509.Certificate, ...]:
        """Return the certificates that the CA of ``fingerprint`` named as the next ones; none where it named none."""
        try:
            kept = (self.path / _NEXT_CA).read_bytes()
            return tuple(x509.load_pem_x509_certificates(kept)) if kept.startswith(_named_by(fingerprint)) else ()
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return ()

    def write_next_ca(self, certificates: tuple[x509.Certificate, ...], fingerprint: str) -> None:
        """Keep the certificates of the CA to come, as the CA of ``fingerprint`` named them."""
        replace_private(self.path / _NEXT_CA, _named_by(fingerprint) + _pem(certificates))


def _named_by(fingerprint: str) -> bytes:
    """Return the first line of the file with the CA to come: text before the certificates is no part of them (RFC 7468)."""
    return f"named by the CA with the fingerprint {plain_fingerprint(fingerprint)}\n".encode()


def _pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
