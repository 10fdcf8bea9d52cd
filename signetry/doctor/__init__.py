"""``signetry doctor``: finds what is wrong before a user does, and says what to do about it."""
