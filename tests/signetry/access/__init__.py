"""Tests of tokens, roles and repeated requests."""
