"""The running service, and real programs against it."""
