"""Delivery: one in-order queue for each destination, and the rules of trying again."""
