"""Quality of experience: turns typed events into observations, and observations into series.

``vocabulary`` maps event types to kinds, ``playback`` is the state machine of a view, ``catalogue``
declares which observation feeds which metric, and ``recorder`` applies the catalogue. Start reading
with ``catalogue``.
"""
