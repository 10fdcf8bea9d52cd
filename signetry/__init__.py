"""The composition root: settings, database, object graph, listeners, worker and command line."""
