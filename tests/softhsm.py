"""A token in a temporary directory: Debian's SoftHSM 2, which keeps its objects in files."""

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
LABEL = "signetry"
PIN = "canary-pin-4711"
SO_PIN = "canary-so-pin-0815"


@dataclass(frozen=True)
class SoftHsm:
    """A token called ``signetry``, the configuration that leads to it, and its PIN in a file."""

    directory: Path

    @property
    def configuration(self) -> Path:
        """What SOFTHSM2_CONF names."""
        return self.directory / "softhsm2.conf"

    @property
    def tokens(self) -> Path:
        """Where the objects are."""
        return self.directory / "tokens"

    @property
    def pin_file(self) -> Path:
        """The file with the user's PIN."""
        return self.directory / "pin"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process that uses the token."""
        return {"SOFTHSM2_CONF": str(self.configuration)}

    @property
    def options(self) -> tuple[str, ...]:
        """What tells ``signetry init`` of it."""
        return "--pkcs11", str(MODULE), "--token", LABEL, "--pin-file", str(self.pin_file)

    def write_pin(self, pin: str) -> None:
        """Put ``pin`` into the file, as of a later time."""
        self.pin_file.touch(mode=0o600)
        self.pin_file.write_text(f"{pin}\n")

    def configure(self, *lines: str) -> None:
        """Write the configuration; it is read when the library is started."""
        common = (f"directories.tokendir = {self.tokens}", "objectstore.backend = file", "log.level = ERROR", *lines)
        self.configuration.write_text("\n".join(common) + "\n")

    def take_away(self) -> None:
        """Make the token disappear under whoever uses it."""
        self.tokens.rename(self.directory / "away")

    def bring_back(self) -> None:
        """Undo that."""
        (self.directory / "away").rename(self.tokens)

    def tool(self, *arguments: str) -> str:
        """Run ``softhsm2-util``."""
        return _run(("softhsm2-util", *arguments), self.environment)

    def pkcs11_tool(self, *arguments: str) -> str:
        """Run OpenSC's ``pkcs11-tool`` as the token's user."""
        login = ("--module", str(MODULE), "--token-label", LABEL, "--login", "--pin", PIN)
        return _run(("pkcs11-tool", *login, *arguments), self.environment)


def create(directory: Path, label: str = LABEL) -> SoftHsm:
    """Make a token in ``directory``."""
    token = SoftHsm(directory)
    token.tokens.mkdir(parents=True)
    token.configure()
    token.write_pin(PIN)
    token.tool("--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", SO_PIN)
    return token


def _run(command: Iterable[str], environment: dict[str, str]) -> str:
    done = subprocess.run([*command], env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
