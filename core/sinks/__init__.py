"""Sinks: turn series and log entries into payloads that are ready for delivery."""
