"""Who may use the API: tokens with roles, and answers kept for repeated requests."""
