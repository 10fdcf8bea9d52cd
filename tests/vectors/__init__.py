"""Golden files, each with its provenance."""
