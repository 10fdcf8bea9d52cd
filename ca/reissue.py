"""Certifying an issuing CA of ours again when the addresses that its certificate holds have changed.

Both functions run in the caller's transaction.
"""

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from sqlmodel import Session

from audit.log import Actor, Event
from audit.log import record as record_event
from ca.authorisation import CaName
from ca.authority_certificates import sign_again
from ca.errors import ForeignAuthority, UnknownAuthority
from ca.hierarchy import crl_url, load_authority
from ca.issuance import IssuanceListener, IssuingAuthority, record
from ca.keys import KeyStore
from ca.rows import current_certificate, id_of, issuer_of, key_reference, row_named


def reissue_issuing(
    session: Session,
    keystore: KeyStore,
    name: CaName,
    public_url: str,
    *,
    actor: Actor,
    now: datetime,
    listeners: Sequence[IssuanceListener] = (),
) -> IssuingAuthority:
    """Certify an issuing CA's key again because ``public_url`` changed; its previous certificate stays valid.

    Raises:
        UnknownAuthority: there is no issuing CA of that name.
        ForeignAuthority: somebody else's authority issued its certificate, and would have to issue the next one.
        CertificateAwaited: it has none yet.
    """
    row = row_named(session, name)
    current = x509.load_der_x509_certificate(current_certificate(session, row).der)
    above = issuer_of(session, row)
    if above is None:
        raise UnknownAuthority(f"{name} is a root: its certificate holds no URL")
    if above.key_reference is None:
        raise ForeignAuthority(
            f"the certificate of {name} comes from {above.name}, which is not ours: have the request of signetry ca csr {name} "
            "signed there, and install what comes back"
        )
    root = load_authority(session, keystore, CaName(above.name), public_url)
    built = sign_again(root, current, keystore.load(key_reference(row)).public_key(), now=now)
    record(session, built, authority=root, authorisation=None, actor=actor, now=now, listeners=listeners, certifies=id_of(row))
    details = {"serial": built.serial, "public_url": public_url}
    record_event(session, Event(actor, "ca.reissued", f"ca:{name}", details=details), now=now)
    return load_authority(session, keystore, name, public_url)


def is_reissue_due(session: Session, name: CaName, public_url: str) -> bool:
    """Say whether an issuing CA's current certificate points elsewhere than ``public_url`` for its issuer's CRL.

    Where the issuer is somebody else's, so are the addresses.
    """
    row = row_named(session, name)
    above = issuer_of(session, row)
    if above is None or above.key_reference is None:
        return False
    current = x509.load_der_x509_certificate(current_certificate(session, row).der)
    points = current.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    wanted = x509.UniformResourceIdentifier(crl_url(public_url, CaName(above.name)))
    return all(wanted not in (point.full_name or ()) for point in points)
