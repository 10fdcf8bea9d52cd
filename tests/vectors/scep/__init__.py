"""SCEP messages captured from real clients."""
