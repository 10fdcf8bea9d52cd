"""Mails to persons: what is owed to them, in words of their language, and its delivery over SMTP."""
