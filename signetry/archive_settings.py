"""The ``[archive]`` section of the settings: where persons' private keys are sealed to, and how they are handed out again."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import NoDecode

from ca.keys import KeyAlgorithm
from pkcs_import.delivery import Method
from pkcs_import.purpose import Concern
from signetry.sections import Name, Pkcs11Settings, Section, split_list

# What a private key can be sealed to.
_SEALING = (KeyAlgorithm.RSA2048, KeyAlgorithm.RSA3072, KeyAlgorithm.RSA4096, KeyAlgorithm.P256, KeyAlgorithm.P384)


class ArchiveSettings(Section):
    """The key archive; while nothing is given, its key is a file, and nothing is online."""

    passphrase_file: Path = Path("secrets/archive-passphrase")
    key_algorithm: KeyAlgorithm = KeyAlgorithm.RSA3072
    pkcs11: Pkcs11Settings = Pkcs11Settings()
    # Whether the archive process runs beside the service, so that the API and the worker can have keys delivered.
    online: bool = False
    # Of keys made here: which CA certifies them, of which kind they are, how many days before its end a certificate is renewed.
    issuing_ca: Name = "issuing"
    made_key_algorithm: KeyAlgorithm = KeyAlgorithm.RSA3072
    renew_before: int = Field(default=60, ge=1, le=365)
    # A renewed encryption certificate is published at the latest so many days after it was issued.
    publish_after: int = Field(default=30, ge=0, le=365)
    # How many hours a delivery waits to be fetched.
    link_ttl: int = Field(default=72, ge=1, le=24 * 30)
    # By which ways keys are handed out; the archive process itself holds to it.
    delivery_methods: Annotated[tuple[Method, ...], NoDecode, BeforeValidator(split_list)] = tuple(Method)
    # How often one address may ask for a link's page in a minute.
    link_requests_per_minute: int = Field(default=60, ge=0, le=100_000)
    refuse_concerns: Annotated[tuple[Concern, ...], NoDecode, BeforeValidator(split_list)] = ()

    def within(self, home: Path) -> Self:
        """Return these settings with their paths absolute: relative ones start at ``home``."""
        passphrase = home / self.passphrase_file.expanduser()
        return self.model_copy(update={"passphrase_file": passphrase, "pkcs11": self.pkcs11.within(home)})

    @field_validator("key_algorithm")
    @classmethod
    def _seals(cls, value: KeyAlgorithm) -> KeyAlgorithm:
        if value not in _SEALING:
            raise ValueError(f"private keys are sealed to {', '.join(_SEALING)}")
        return value

    @field_validator("made_key_algorithm")
    @classmethod
    def _encrypts(cls, value: KeyAlgorithm) -> KeyAlgorithm:
        if value is KeyAlgorithm.ED25519:
            raise ValueError("nothing can be encrypted to a key of ed25519")
        return value

    @model_validator(mode="after")
    def _published_before_the_end(self) -> Self:
        if self.publish_after >= self.renew_before:
            raise ValueError("publish_after must be less than renew_before: by then the one before has expired")
        return self

    @model_validator(mode="after")
    def _rsa_in_tokens(self) -> Self:
        if self.pkcs11.is_configured and not self.key_algorithm.is_rsa:
            raise ValueError("key_algorithm: in a token the archive key is of RSA")
        return self
