"""What the service tells Prometheus: counts and times of every process, and the state that stands in the database."""
