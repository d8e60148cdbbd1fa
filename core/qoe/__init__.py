"""Quality of experience: turns typed events into observations, and observations into series.

``vocabulary`` maps event types to kinds, ``playback`` describes the model of a view, which
``state_machine`` carries out, ``catalogue`` declares which observation feeds which metric, and
``recorder`` applies the catalogue. Start reading with ``catalogue``.
"""
