"""The process of a workshop: opens files, makes keys, and seals them. ``python -m pkcs_import.workshop_process FD SECONDS``.

It serves one request after the other on a socket, and keeps at most one file open. It ends with the other side, when nothing is
asked of it for a while, and when a request takes too long: the kernel sees to the last.
"""

import contextlib
import ctypes
import hashlib
import resource
import signal
import socket
import sys
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ca.keys import KeyAlgorithm, generate_key
from pkcs_import.container import Container, open_container
from pkcs_import.errors import BadContainer, ContainerTooBig, NotPkcs12, WrongPassword
from pkcs_import.matching import Identity, MatchedCertificate, identities
from pkcs_import.purpose import addresses_of, concerns_of, purpose_of
from pkcs_import.sealing import ArchivePublicKey, Binding, SealedKey, new_uid
from pkcs_import.system_roots import system_roots
from pkcs_import.trust import Judge
from pkcs_import.workshop_messages import IDLE_SECONDS, ChannelBroken, Message, bytes_of, receive, send, text_of

# Ten times what the largest file asks for; a file that makes the parser ask for more costs this process.
_MEMORY = 1 << 30
_PR_SET_DUMPABLE = 4
_LONGEST_NAME = 1000
# What is recorded; RFC 5280 allows 40 digits.
_LONGEST_SERIAL = 64


class WorkshopProcess:
    """What the process knows: our authorities, as it was told, and the keys of the file that is open."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._identities: list[Identity] = []
        self._judge = Judge((), system_roots)
        self._archive_keys: dict[tuple[int, str], ArchivePublicKey] = {}

    def answer(self, asked: Message) -> Message | None:
        """Return the answer to a message; None where none is waited for."""
        match asked["do"]:
            case "trust":
                self._judge = Judge([bytes_of(each) for each in asked["ours"]], system_roots)
            case "forget":
                self._identities = []
            case "open":
                return self._open(asked)
            case "seal":
                return self._seal(asked)
            case "make":
                return self._make(asked)
        return None

    def _open(self, asked: Message) -> Message:
        now = datetime.fromisoformat(asked["now"])
        self._identities = []
        try:
            container = _opened(bytes_of(asked["data"]), asked["password"])
            found = identities(container)
            keys = [self._described(each, now) for each in found]
        except BadContainer as error:
            return {"refused": type(error).__name__, "why": str(error)}
        self._identities = found
        return {"keys": keys, "skipped": list(container.skipped)}

    def _described(self, identity: Identity, now: datetime) -> Message:
        return {
            "spki_sha256": _spki_sha256(identity),
            "algorithm": identity.key.algorithm,
            "certificates": [self._certificate(each, now) for each in identity.certificates],
        }

    def _certificate(self, matched: MatchedCertificate, now: datetime) -> Message:
        certificate = matched.certificate
        try:
            addresses = addresses_of(certificate)
            return {
                "der": text_of(matched.der),
                "sha256": hashlib.sha256(matched.der).hexdigest(),
                "chain": [text_of(each) for each in matched.chain],
                "subject": _readable(certificate.subject),
                "issuer": _readable(certificate.issuer),
                "serial": f"{certificate.serial_number:x}"[:_LONGEST_SERIAL],
                "not_before": certificate.not_valid_before_utc.isoformat(),
                "not_after": certificate.not_valid_after_utc.isoformat(),
                "purpose": str(purpose_of(certificate)),
                "concerns": [str(each) for each in concerns_of(certificate)],
                "trust": str(self._judge.judge(matched.der, matched.chain, now)),
                "addresses": list(addresses.mail),
                "upns": list(addresses.upns),
            }
        except (ValueError, x509.DuplicateExtension) as error:
            raise NotPkcs12("a certificate in the file cannot be read") from error

    def _seal(self, asked: Message) -> Message:
        archive = self._archive_key(asked)
        sealed = []
        for identity in self._identities:
            digest = _spki_sha256(identity)
            if digest in asked["only"]:
                binding = Binding(new_uid(), asked["person"], digest)
                sealed.append(_sealed(binding, archive.seal(identity.key.pkcs8, binding)))
        return {"sealed": sealed}

    def _make(self, asked: Message) -> Message:
        private_key = generate_key(KeyAlgorithm(asked["algorithm"]))
        spki = private_key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        pkcs8 = private_key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        binding = Binding(new_uid(), asked["person"], hashlib.sha256(spki).hexdigest())
        return {"spki": text_of(spki), "sealed": _sealed(binding, self._archive_key(asked).seal(pkcs8, binding))}

    def _archive_key(self, asked: Message) -> ArchivePublicKey:
        wanted = (int(asked["archive"]), str(asked["archive_spki"]))
        if wanted not in self._archive_keys:
            self._archive_keys = {wanted: ArchivePublicKey.from_spki(wanted[0], bytes_of(wanted[1]))}
        return self._archive_keys[wanted]


def serve(channel: socket.socket, seconds: float) -> None:
    """Answer until the other side goes, or asks nothing for a while; what takes longer than ``seconds`` ends the process."""
    process = WorkshopProcess()
    while True:
        channel.settimeout(IDLE_SECONDS)
        asked = receive(channel)
        channel.settimeout(seconds)
        # By its default action the signal ends the process, in whatever C code it is.
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            answer = process.answer(asked)
        except MemoryError:
            answer = {"refused": ContainerTooBig.__name__, "why": "it asks for more memory than it is given"}
        except Exception as error:  # noqa: BLE001 - whatever a strange file brings about costs that file and nothing else
            # Neither the message nor the trace: they may hold what was read.
            answer = {"refused": NotPkcs12.__name__, "why": f"it cannot be read ({type(error).__name__})"}
        if answer is not None:
            send(channel, answer)
        signal.setitimer(signal.ITIMER_REAL, 0)


def main(descriptor: int, seconds: float) -> None:
    """Serve on the socket ``descriptor``, within limits, until it closes."""
    # Ctrl-C is for who started this process, which then says goodbye.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _confine()
    with socket.socket(fileno=descriptor) as channel, contextlib.suppress(ChannelBroken, TimeoutError):
        serve(channel, seconds)


def _confine() -> None:
    """Let neither a core file nor another process of this user show what is in memory, nor a file take all of the machine's."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _opened(data: bytes, password: str | None) -> Container:
    """Open a file. Where there is no password, the empty one is tried as well: what wrote the file may have meant either."""
    if password:
        return open_container(data, password)
    try:
        return open_container(data, password)
    except WrongPassword:
        return open_container(data, "" if password is None else None)


def _readable(name: x509.Name) -> str:
    """Return a name as it can be stored and shown: a terminal and a database take amiss what a stranger may have put there."""
    text = name.rfc4514_string()[:_LONGEST_NAME]
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _spki_sha256(identity: Identity) -> str:
    return hashlib.sha256(identity.key.spki).hexdigest()


def _sealed(binding: Binding, sealed: SealedKey) -> Message:
    return {
        "uid": binding.uid,
        "person": binding.person,
        "spki_sha256": binding.spki_sha256,
        "archive_key": sealed.archive_key,
        "wrapped_key": text_of(sealed.wrapped_key),
        "nonce": text_of(sealed.nonce),
        "ciphertext": text_of(sealed.ciphertext),
    }


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
