"""The embedded store: writing, retention, faults."""
