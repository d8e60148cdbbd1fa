"""Every example runs as its users would run it, against strict doubles of the destinations."""
