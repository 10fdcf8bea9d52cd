"""The tests of the composition root."""
