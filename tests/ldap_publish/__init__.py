"""Tests of publication in LDAP directories."""
