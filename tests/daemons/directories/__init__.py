"""Directory servers for tests, from Debian's packages, on loopback: OpenLDAP, 389 Directory Server and Samba's AD."""
