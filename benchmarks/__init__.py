"""Measurements of the running service; each prints its table and leaves nothing behind."""
