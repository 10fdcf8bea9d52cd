"""Tests of the challenge policies."""
