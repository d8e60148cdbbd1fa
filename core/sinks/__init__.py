"""Sinks: what a flush makes of metrics and logs, as payloads ready for delivery."""
