"""The authority itself: keys, hierarchy, certificate profiles, authorisations, issuance and revocation state."""
