"""Tests of the test support itself: a double that is wrong makes every test that uses it wrong."""
