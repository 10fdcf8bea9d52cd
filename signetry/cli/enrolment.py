"""``signetry enrol``: our own SCEP client, for trying an endpoint and for machines without another."""

from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Annotated

import typer

from ca.subject import COMMON_NAME_BYTES
from foundation.errors import BadRequest, Conflict, SignetryError
from scep.ca_certificates import CaBag
from scep.client import NEXT_CA, ScepClient
from scep.client_keys import Application, Identity, KeyKind
from scep.client_polling import Patience, poll_until_decided
from scep.errors import EnrolmentPending, EnrolmentRefused
from signetry.cli.durations import parse_duration
from signetry.cli.enrolment_folder import EnrolmentFolder
from signetry.cli.output import JsonFlag, emit_record
from signetry.files import is_open_to_all, read_secret

Url = Annotated[str, typer.Argument(help="The endpoint, such as http://127.0.0.1:8080/scep/default.")]
Fingerprint = Annotated[str, typer.Option(help="Accept only the issuing CA with this SHA-256.")]
Legacy = Annotated[bool, typer.Option("--legacy", help="Use SHA-1 and triple DES where the server lists nothing better.")]
Oaep = Annotated[bool, typer.Option("--oaep", help="Envelope requests with RSAES-OAEP (SHA-256) instead of PKCS #1 v1.5.")]


def enrol(  # noqa: PLR0913 - one parameter an option
    url: Url,
    *,
    out: Annotated[Path, typer.Option(help="Where key.pem, certificate.pem and chain.pem go.")],
    challenge_file: Annotated[Path | None, typer.Option(help="The file with the challenge password.")] = None,
    no_challenge: Annotated[
        bool, typer.Option("--no-challenge", help="Enrol without a challenge, where an administrator approves instead.")
    ] = False,
    renew: Annotated[bool, typer.Option("--renew", help="Renew the certificate in --out, with a new key.")] = False,
    same_key: Annotated[bool, typer.Option("--same-key", help="Renew with the old key.")] = False,
    common_name: Annotated[
        str, typer.Option(help="The name in the request; the service decides the one in the certificate.")
    ] = "",
    key: Annotated[KeyKind, typer.Option(help="The kind of key that is made.")] = KeyKind.RSA2048,
    poll_interval: Annotated[str, typer.Option(help="How often a request that waits for approval is asked after.")] = "30s",
    max_poll: Annotated[str, typer.Option(help="How long to wait for approval; running it again goes on waiting.")] = "1h",
    fingerprint: Fingerprint = "",
    legacy: Legacy = False,
    oaep: Oaep = False,
    as_json: JsonFlag = False,
) -> None:
    """Enrol over SCEP, or renew. When the connection breaks, run it again: the same request gets the same certificate.

    A key.pem that is in --out already is used; otherwise one is made. A certificate.pem is never overwritten, except by --renew.

    Example: signetry enrol http://127.0.0.1:8080/scep/default --challenge-file challenge.txt --out ./alice
    """
    if len(common_name.encode()) > COMMON_NAME_BYTES:
        raise BadRequest(f"--common-name has at most {COMMON_NAME_BYTES} bytes of UTF-8")
    if not renew and no_challenge == (challenge_file is not None):
        raise BadRequest("give --challenge-file or --no-challenge, to enrol, or --renew")
    if renew and no_challenge:
        raise BadRequest("--renew takes a --challenge-file where the renewal needs a fresh challenge, and nothing where not")
    if same_key and not renew:
        raise BadRequest("--same-key goes with --renew")
    patience = Patience(parse_duration(poll_interval), parse_duration(max_poll))
    folder = EnrolmentFolder(out)
    challenge = _read_challenge(challenge_file)
    with ScepClient(url, fingerprint=fingerprint, successors=folder.next_ca(fingerprint), legacy=legacy, oaep=oaep) as client:
        bag = client.ca_certificates()

        def decided(kept: EnrolmentFolder, application: Application) -> Identity:
            got = _decided(client, bag, kept, application, patience)
            # While it waited, another CA may have taken the place of the one it asked.
            folder.write_chain(bag if got.certificate.issuer == bag.issuer.subject else client.ca_certificates())
            return got

        if renew:
            identity = _renew(decided, folder, challenge, key, same_key=same_key)
        else:
            identity = _enrol(decided, folder, common_name or "signetry enrol", challenge, key)
        if fingerprint:
            _keep_next_ca(client, bag, folder, fingerprint)
    certificate = identity.certificate
    emit_record(
        {
            "certificate": str(folder.certificate_path),
            "serial": f"{certificate.serial_number:032x}",
            "subject": certificate.subject.rfc4514_string(),
            "not_after": certificate.not_valid_after_utc,
            "ca_fingerprint": bag.fingerprint,
        },
        as_json=as_json,
    )


Decide = Callable[[EnrolmentFolder, Application], Identity]


def _read_challenge(path: Path | None) -> str:
    try:
        # What "challenge create > FILE" makes is open to all with the usual umask, and worth nothing in a moment.
        challenge = read_secret(path, "--challenge-file", may_be_open=True).decode() if path else ""
    except UnicodeDecodeError:
        raise BadRequest(f"--challenge-file: {path} holds no text") from None
    if path and is_open_to_all(path.stat()):
        typer.echo(f"--challenge-file: {path} is open to every user of this machine; better chmod 600 it", err=True)
    return challenge


def _enrol(decided: Decide, folder: EnrolmentFolder, common_name: str, challenge: str, kind: KeyKind) -> Identity:
    if folder.is_certified:
        if not folder.is_unfinished:
            raise Conflict(f"{folder.certificate_path} is there already: renew it with --renew, or name another --out")
        # An earlier run was interrupted between its last two steps.
        identity = folder.identity()
    else:
        identity = decided(folder, folder.application(common_name, challenge, kind))
        folder.write_certificate(identity.certificate)
    # The request holds the challenge, which is spent now.
    folder.forget_request()
    return identity


def _renew(decided: Decide, folder: EnrolmentFolder, challenge: str, kind: KeyKind, *, same_key: bool) -> Identity:
    if folder.adopt_following():
        return folder.identity()
    if not folder.is_certified:
        raise BadRequest(f"there is nothing to renew: {folder.certificate_path} is missing")
    held = folder.identity()
    following = folder.following
    old_key = held.private_key if same_key else None
    identity = decided(following, following.application(held.certificate.subject, challenge, kind, held, old_key))
    following.write_certificate(identity.certificate)
    folder.adopt_following()
    return identity


def _decided(client: ScepClient, bag: CaBag, kept: EnrolmentFolder, application: Application, patience: Patience) -> Identity:
    """Return what an application gets, waiting for it as long as ``patience`` says.

    Raises:
        EnrolmentRefused: the server has decided: what is tried next is another request. The key stays.
        EnrolmentPending: it has not, as yet; the next run asks again.
    """

    def poll() -> Identity:
        return client.poll(bag, application)

    def ask() -> Identity:
        try:
            return client.apply(bag, application)
        except EnrolmentPending:
            kept.note_pending(application)
            _say_so(patience)
            raise

    try:
        return poll_until_decided(poll if kept.is_pending(application) else ask, poll, patience, sleep)
    except EnrolmentRefused:
        kept.forget_request()
        raise
    except EnrolmentPending:
        raise EnrolmentPending("the request waits for approval; run the same command again to ask for the decision") from None


def _say_so(patience: Patience) -> None:
    if patience.interval <= patience.at_most:
        every, at_most = (int(each.total_seconds()) for each in (patience.interval, patience.at_most))
        typer.echo(f"the request waits for approval: asked after every {every} seconds, for {at_most} at most", err=True)


def _keep_next_ca(client: ScepClient, bag: CaBag, folder: EnrolmentFolder, fingerprint: str) -> None:
    """Keep what is to follow the CA of ``fingerprint``, so that it is believed once it does; the certificate is there without.

    What a CA says whose fingerprint nobody gave is worth nothing to a run that is given one.
    """
    try:
        if NEXT_CA in client.capabilities():
            # Today's stays in the file where it is trusted for having been in it.
            trusted = tuple(certificate for certificate in folder.next_ca(fingerprint) if certificate == bag.issuer)
            folder.write_next_ca((*trusted, *client.next_ca_certificates(bag)), fingerprint)
    except SignetryError as error:
        typer.echo(f"the next CA is not known: {error}", err=True)
