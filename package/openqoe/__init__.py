"""OpenQoE: ingest of video quality-of-experience data. ``core`` is pure; ``shells`` do the I/O."""
