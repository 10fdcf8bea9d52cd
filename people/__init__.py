"""Persons, groups and their devices."""
