"""Tests of the OpenQoE worker. Run from the project root, so that `tests.support` is found."""
