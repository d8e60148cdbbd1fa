"""Events: the types both SDK generations send, and how a body becomes a batch of them.

``schema`` declares, ``batch`` decodes and validates, ``repair`` saves what does not fit,
``faults`` says what was wrong.
"""
