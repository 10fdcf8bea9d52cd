"""An authority outside of ours that signs what ``signetry init --csr`` makes, for tests of the command line."""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from tests.ca.authorities import NOW
from tests.ca.foreign import Foreign, Says, foreign_root

# Installations are made under the real clock, which these years include.
TODAY = Says(not_before=NOW.replace(year=2020), not_after=NOW.replace(year=2049))


def root_of_today(says: Says = TODAY) -> Foreign:
    """Make a root that is valid whenever tests are run."""
    return foreign_root("Corporate Root CA", says)


def signed(above: Foreign, request: Path, says: Says = TODAY) -> Path:
    """Sign a request; return a PKCS #7 file beside it with the certificate and that of ``above``, as AD CS hands it out."""
    csr = x509.load_pem_x509_csr(request.read_bytes())
    certificate = above.certify(csr.subject, csr.public_key(), says)  # type: ignore[arg-type] # a key of ours
    file = request.with_suffix(".p7b")
    file.write_bytes(pkcs7.serialize_certificates([certificate, above.certificate], Encoding.DER))
    return file
