"""The REST API: one module a resource, as the command line has one a command group."""
