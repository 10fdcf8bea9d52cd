"""The ``signetry`` command: one group of commands a module, errors turned into an exit code in one place."""

import sys
from importlib import metadata
from typing import Annotated

import typer

from ca.errors import TokenUnavailable
from foundation.errors import BadRequest, SignetryError
from signetry import logging
from signetry.cli import (
    archive,
    authority,
    certificates,
    challenges,
    crl,
    delivery,
    devices,
    doctor,
    enrolment,
    groups,
    hierarchy,
    intune,
    key_making,
    ldap,
    notices,
    people,
    pfx,
    pfx_import,
    pfx_keys,
    recovery,
    requests,
    rollover,
    scep,
    service,
    tokens,
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
authority.app.command("create")(hierarchy.create)
authority.app.command("csr")(hierarchy.csr)
authority.app.command("install")(hierarchy.install)
authority.app.command("export")(hierarchy.export)
authority.app.add_typer(rollover.app, name="rollover")
app.add_typer(authority.app, name="ca")
app.add_typer(people.app, name="person")
app.add_typer(groups.app, name="group")
app.add_typer(devices.app, name="device")
app.add_typer(challenges.app, name="challenge")
app.add_typer(requests.app, name="request")
app.add_typer(certificates.app, name="cert")
app.add_typer(crl.app, name="crl")
app.add_typer(ldap.app, name="ldap")
app.add_typer(notices.app, name="notice")
app.add_typer(intune.app, name="intune")
app.add_typer(tokens.app, name="token")
pfx.app.add_typer(delivery.app, name="deliver")
pfx.app.add_typer(recovery.app, name="recover")
pfx.app.command("import", help=pfx_import.IMPORT_HELP)(pfx_import.import_)
pfx.app.command("issue")(key_making.issue)
pfx.app.command("list")(pfx_keys.list_)
pfx.app.command("show")(pfx_keys.show)
app.add_typer(pfx.app, name="pfx")
app.add_typer(archive.app, name="archive")
app.add_typer(scep.app, name="scep")
app.command("init")(authority.init)
app.command("serve")(service.serve)
app.command("doctor")(doctor.doctor)
app.command("demo")(service.demo)
app.command("enrol")(enrolment.enrol)


def _say_version(wanted: bool) -> None:  # noqa: FBT001 - the shape of an option's callback
    if wanted:
        typer.echo(f"signetry {metadata.version('signetry')}")
        raise typer.Exit


@app.callback()
def signetry(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which release this is.")
    ] = False,
) -> None:
    """Signetry: a certification authority for mobile mail identity."""


_FAILED = 1
_BAD_USAGE = 2


def main() -> None:
    """Run the command line; a refusal goes to stderr in one line."""
    # Commands report by what they print; the log is for what they did not expect. ``serve`` configures it again.
    logging.configure("warning", "console")
    try:
        app()
    except BadRequest as error:
        print(f"signetry: {error}", file=sys.stderr)  # noqa: T201 - the reason of a failure is what stderr is for
        sys.exit(_BAD_USAGE)
    except TokenUnavailable as error:
        # Why is for administrators alone: phones are told the rest.
        print(f"signetry: {error}: {error.detail}", file=sys.stderr)  # noqa: T201 - as above
        sys.exit(_FAILED)
    except SignetryError as error:
        print(f"signetry: {error}", file=sys.stderr)  # noqa: T201 - as above
        sys.exit(_FAILED)
    except OSError as error:
        if error.filename is None:
            raise
        # A file or directory that was named cannot be used: nothing that a stack trace would explain better.
        print(f"signetry: {error.filename}: {error.strerror}", file=sys.stderr)  # noqa: T201 - as above
        sys.exit(_FAILED)
