"""What administrators do, each act once: the command line and the API call the same."""
