"""Mutated messages: a fixed short corpus in the suite, and a long run against a server."""
