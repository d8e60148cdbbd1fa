"""Shells: what carries the core's bytes and effects in and out.

One folder for each runtime, with the same files in each; beside them, what they share that
is I/O but of no runtime: settings from the environment, logging, key-value stores, the
command line. A shell holds no rule about QoE, HTTP status, limits or retries.
"""
