"""Answers that are files, and requests that bring one."""

from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ca.export import ChainFormat
from signetry.api.routing import LENGTHY, body_at_most

CSV_AT_MOST = 20 << 20
_CSV = "text/csv"


class Pem(Response):
    """A certificate or CRL as PEM; the media type is nobody's registered one, and what OpenSSL's users know."""

    media_type = "application/x-pem-file"


class Der(Response):
    """A certificate as DER (RFC 2585 section 4.1)."""

    media_type = "application/pkix-cert"


class Chain(Response):
    """Certificates as PEM, each certified by the next (RFC 8555 section 9.1)."""

    media_type = "application/pem-certificate-chain"


class ChainAsPkcs7(Response):
    """Certificates as a certs-only CMS SignedData (RFC 8551 section 3.8)."""

    media_type = ChainFormat.P7C.media_type


class SerializedStore(Response):
    """Certificates as Microsoft's serialized store."""

    media_type = ChainFormat.SST.media_type


def named(name: str) -> dict[str, str]:
    """Return the headers that tell a browser what to call the file; ``name`` is of ours, without quotation marks."""
    return {"Content-Disposition": f'attachment; filename="{name}"'}


async def _csv(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _CSV:
        raise HTTPException(415, f"the body of this request is {_CSV}")
    return await request.body()


# The bytes of a CSV file that a request brings; its route has ``csv_upload``'s arguments.
CsvFile = Annotated[bytes, Depends(_csv)]


def csv_upload(example: str) -> dict[str, Any]:
    """Return what a route that takes a ``CsvFile`` says of itself: its bounds, and its documentation with an example."""
    content = {_CSV: {"schema": {"type": "string"}, "examples": {"file": {"value": example}}}}
    return {
        "dependencies": [body_at_most(CSV_AT_MOST), LENGTHY],
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    }
