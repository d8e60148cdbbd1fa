"""Tests of deploy/: its files against the tools that read them, and against the worker."""
