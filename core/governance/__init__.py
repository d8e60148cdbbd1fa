"""Cardinality governance: limits the number of values that a label can have.

``dimension`` applies the limit of one dimension, ``governor`` holds all dimensions. The limits are
declared in ``core/config/cardinality_limits``.
"""
