"""What stands in deploy/ works: checked by the tools that will read it, and against the worker."""
