"""The signetry command."""
