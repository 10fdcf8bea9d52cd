"""What people send instead of a PKCS #12, told by how it begins, so that they learn what to do."""

from typing import Final

from foundation import tlv
from foundation.tlv import MalformedTlv

_PEM: Final = b"-----BEGIN "
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_JAVA_KEYSTORES: Final = {b"\xfe\xed\xfe\xed": "JKS", b"\xce\xce\xce\xce": "JCEKS"}
_ZIP: Final = b"PK\x03\x04"
_SIGNED_DATA: Final = tlv.object_identifier("1.2.840.113549.1.7.2")
_VERSION_0: Final = tlv.integer(0)


def recognised(data: bytes) -> str | None:
    """Return why ``data`` is no PKCS #12, where its beginning tells; None where it may be one."""
    if not data:
        return "the file is empty"
    if data.removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(_PEM):
        return "the file is PEM, not PKCS #12: openssl pkcs12 -export makes one of it"
    store = _JAVA_KEYSTORES.get(data[:4])
    if store is not None:
        return f"the file is a Java keystore ({store}), not PKCS #12: keytool -importkeystore makes one of it"
    if data.startswith(_ZIP):
        return "the file is a ZIP archive, not PKCS #12"
    if data[:1] != bytes((tlv.SEQUENCE,)):
        return "the file is no PKCS #12"
    return _by_structure(data)


def _by_structure(data: bytes) -> str | None:
    """Tell the other structures that begin with a SEQUENCE by what comes next in it."""
    try:
        _, content, _ = tlv.read_header(data, 0, len(data))
    except MalformedTlv:
        return None
    inside = data[content : content + len(_SIGNED_DATA)]
    if inside[:1] == bytes((tlv.SEQUENCE,)):
        return "the file is a certificate or a request, without a private key"
    if inside == _SIGNED_DATA:
        return "the file is a PKCS #7 with certificates, without a private key"
    if inside.startswith(_VERSION_0):
        return "the file is a bare private key, without a certificate: openssl pkcs12 -export puts both together"
    return None
