"""Tests of pkcs_import."""
