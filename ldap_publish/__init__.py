"""Upload of certificates and CRLs to LDAP directories: what is owed, what an entry should hold, and writing the difference."""
