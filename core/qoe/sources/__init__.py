"""Sources: one table each of what the events of a client mean for the playback model."""
