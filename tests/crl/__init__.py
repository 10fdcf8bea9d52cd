"""Tests of CRL building, publication and serving."""
