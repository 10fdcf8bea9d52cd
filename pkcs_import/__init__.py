"""PKCS #12 per person: import, key archive, recovery and delivery."""
