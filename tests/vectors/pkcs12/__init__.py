"""PKCS #12 files as programs write them."""
