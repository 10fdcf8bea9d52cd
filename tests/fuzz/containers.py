"""Mutated PKCS #12 files: broken outside, or broken inside with valid MACs and encryptions around the break."""

import random
from collections.abc import Iterator, Sequence
from typing import Final

from foundation import tlv
from pkcs_import import pkcs12_oids as oids
from pkcs_import.container import open_container
from pkcs_import.errors import BadContainer
from pkcs_import.matching import identities
from pkcs_import.purpose import addresses_of, concerns_of, purpose_of
from tests.fuzz.mutations import mutate
from tests.pkcs_import.containers import (
    aes,
    bmp,
    certificate_bag,
    content_info,
    data,
    encrypted,
    key_bag,
    mac,
    pbmac1,
    triple_des,
)
from tests.vectors.pkcs12.parties import der, pkcs8

PASSWORD: Final = "correct horse"
_SPELT, _OCTETS = bmp(PASSWORD), PASSWORD.encode()
_ENCRYPTIONS: Final = (triple_des(_SPELT, iterations=1), aes(_OCTETS, iterations=1))
_MACS: Final = (mac(_SPELT, iterations=1), pbmac1(_OCTETS, iterations=1), None)
# Those within the bounds are few, for they are done.
_STATED: Final = (-(2**63), -1, 0, 1, 2, 3000, 1_000_001, 2**31 - 1, 2**63, 2**200)
_PARTIES: Final = ("ann", "bob", "bob", "cid")


class ContainerSource:
    """An endless source of mutants, the same ones for the same ``seed``.

    Args:
        seed: where the sequence starts.
        originals: whole files to be mutated from outside.
    """

    def __init__(self, seed: int, originals: Sequence[bytes]) -> None:
        self._random = random.Random(seed)
        self._originals = originals

    def __iter__(self) -> Iterator[bytes]:
        """Yield mutants for ever."""
        makers = (
            self._outside,
            self._content,
            self._bags,
            self._bags,
            self._key,
            self._certificate,
            self._parameters,
            self._bomb,
        )
        while True:
            yield self._random.choice(makers)()

    def _outside(self) -> bytes:
        return mutate(self._random, self._random.choice(self._originals))

    def _content(self) -> bytes:
        """Broken between the MAC and the encryption."""
        key, certificate = self._sound()
        encryption = self._random.choice(_ENCRYPTIONS)
        parts = tlv.sequence(encrypted([certificate], encryption), data([key]))
        return self._authenticated(mutate(self._random, parts))

    def _bags(self) -> bytes:
        """Broken within the encryption."""
        bags = mutate(self._random, tlv.sequence(*self._sound()))
        if self._random.random() < 0.5:
            part = content_info(oids.DATA, tlv.octet_string(bags))
        else:
            named, ciphertext = self._random.choice(_ENCRYPTIONS)(bags)
            content = tlv.sequence(tlv.object_identifier(oids.DATA), named, tlv.tlv(0x80, ciphertext))
            part = content_info(oids.ENCRYPTED_DATA, tlv.sequence(tlv.integer(0), content))
        return self._authenticated(tlv.sequence(part))

    def _key(self) -> bytes:
        """A broken private key."""
        party = self._random.choice(_PARTIES)
        key = key_bag(mutate(self._random, pkcs8(party)), self._random.choice((*_ENCRYPTIONS, None)))
        return self._authenticated(tlv.sequence(data([key, certificate_bag(der(party))])))

    def _certificate(self) -> bytes:
        """A broken certificate."""
        party = self._random.choice(_PARTIES)
        bags = [key_bag(pkcs8(party)), certificate_bag(mutate(self._random, der(party))), certificate_bag(der("issuing"))]
        return self._authenticated(tlv.sequence(data(bags)))

    def _parameters(self) -> bytes:
        """Encrypted by something broken, or by something else."""
        party = self._random.choice(_PARTIES)
        named, ciphertext = self._random.choice(_ENCRYPTIONS)(pkcs8(party))
        bag = key_bag(pkcs8(party), lambda _: (mutate(self._random, named), ciphertext))
        return self._authenticated(tlv.sequence(data([bag, certificate_bag(der(party))])))

    def _bomb(self) -> bytes:
        """One that asks for more iterations than it was made with."""
        party, stated = self._random.choice(_PARTIES), self._random.choice(_STATED)
        encryption = self._random.choice(
            (triple_des(_SPELT, iterations=1, stated=stated), aes(_OCTETS, iterations=1, stated=stated))
        )
        key = key_bag(pkcs8(party), self._random.choice((encryption, None)))
        content = tlv.sequence(self._random.choice((data([key]), encrypted([key], encryption))))
        make = self._random.choice((mac(_SPELT, iterations=1, stated=stated), None))
        authenticated = (make(content),) if make is not None else ()
        return tlv.sequence(tlv.integer(3), content_info(oids.DATA, tlv.octet_string(content)), *authenticated)

    def _sound(self) -> tuple[bytes, bytes]:
        party = self._random.choice(_PARTIES)
        return key_bag(pkcs8(party), self._random.choice((*_ENCRYPTIONS, None))), certificate_bag(der(party))

    def _authenticated(self, content: bytes) -> bytes:
        make = self._random.choice(_MACS)
        authenticated = (make(content),) if make is not None else ()
        return tlv.sequence(tlv.integer(3), content_info(oids.DATA, tlv.octet_string(content)), *authenticated)


def digested(made: bytes) -> str:
    """Do with a file what importing it does up to its owner, and say how far that came."""
    step = "open"
    try:
        container = open_container(made, PASSWORD)
        step = "match"
        found = identities(container)
    except BadContainer as refusal:
        return f"{step}: {type(refusal).__name__}"
    for identity in found:
        for each in identity.certificates:
            purpose_of(each.certificate)
            concerns_of(each.certificate)
            addresses_of(each.certificate)
    return "accepted"
