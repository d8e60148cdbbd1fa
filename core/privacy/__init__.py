"""Privacy: what is removed from events, or replaced, before anything is stored or sent.

It applies to the bytes of a batch before they reach the journal, so nothing behind it (journal,
series, log lines, destinations) ever has what was removed.
"""
