"""Cardinality governance: keeps the number of values a label can have within limits.

``limits`` declares them, ``dimension`` applies one, ``governor`` holds them all.
"""
