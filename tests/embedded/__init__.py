"""The embedded store: what is written, how long it is kept, and what becomes of faults."""
