"""Revocation for relying parties: certificate revocation lists and authority information access files."""
