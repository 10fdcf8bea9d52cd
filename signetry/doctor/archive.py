"""The key archive: whether there is something to seal to, and whether what is sealed could be opened again. No key is opened."""

from collections.abc import Iterator

from signetry.administration import archive
from signetry.administration.archive import ArchiveView
from signetry.doctor.findings import Finding
from signetry.house import House


def key_archive(house: House) -> Iterator[Finding]:
    """Look at the archive's keys from outside: those who examine may be web processes, which hold none."""
    view = archive.status(house)
    if not view.keys:
        yield Finding("archive", "warning", "there is no archive key: no private key can be kept", "run signetry archive create")
        return
    found = [*_broken(house, view), *_doubtful(house, view)]
    yield from found
    if not found:
        sealed = sum(key.sealed for key in view.keys)
        yield Finding("archive", "ok", f"{sealed} private keys, sealed to {view.keys[0].reference} in {view.kept_in}")


def _broken(house: House, view: ArchiveView) -> Iterator[Finding]:
    settings = house.settings.archive
    if settings.online and not view.listening:
        yield Finding(
            "archive",
            "warning",
            "the archive process does not answer: the service delivers and recovers nothing",
            "start the service; if it runs, its log says why",
        )
    if settings.pkcs11.is_configured:
        return
    if settings.online and not settings.passphrase_file.exists():
        yield Finding(
            "archive",
            "error",
            f"the archive process is to be online, and archive.passphrase_file {settings.passphrase_file} is missing",
            "put it there, or set archive.online = false",
        )
    folder = house.settings.home / "archive-keys"
    if not folder.exists() and not settings.passphrase_file.exists():
        # They are on another machine, where nobody reaches them (docs/archive.md).
        return
    for key in view.keys:
        path = folder / f"{key.reference}.key"
        is_newest = key is view.keys[0]
        if (key.sealed or is_newest) and not path.exists():
            whatever_comes = " and whatever is sealed from now on" if is_newest else ""
            yield Finding(
                "archive",
                "error",
                f"{path} is missing: {key.sealed} private keys{whatever_comes} cannot be opened without it",
                "restore it from the backup",
            )


def _doubtful(house: House, view: ArchiveView) -> Iterator[Finding]:
    if view.left:
        yield Finding(
            "archive",
            "warning",
            f"{view.left} private keys are sealed to an earlier archive key: a rotation was broken off",
            "signetry archive rotate goes on where it stopped",
        )
    ours, its = house.settings.pkcs11, house.settings.archive.pkcs11
    if its.is_configured and (its.module, its.token) == (ours.module, ours.token):
        yield Finding(
            "archive",
            "warning",
            f"the token {its.token!r} has the authorities' keys, too: web processes, which log in to it, could open the archive",
            "give the archive a token, and a PIN, of its own",
        )
