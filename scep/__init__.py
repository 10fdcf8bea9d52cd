"""Enrolment over SCEP (RFC 8894)."""
