"""``signetry pfx``: PKCS #12 per person. Its commands stand in modules of their own."""

import typer

app = typer.Typer(no_args_is_help=True, help="PKCS #12 per person: import, issue, deliver, recover.")
