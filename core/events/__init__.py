"""Events: the types both SDK generations send, and how a body becomes a batch of them.

``schema`` declares, ``cut`` takes a body apart, ``batch`` decodes and validates, ``mend`` and
``repair`` save what does not fit, ``faults`` says what was wrong.
"""
