"""Tests of the Intune client, against a server that refuses whatever is not documented."""
