"""Delivery: one ordered queue per destination, and the rules of retrying."""
