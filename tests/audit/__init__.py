"""Tests of persons, groups and devices."""
