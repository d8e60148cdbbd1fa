"""Quality of experience: from typed events to observations, and from those to series.

``vocabulary`` maps event types to kinds, ``playback`` follows one view, ``catalogue`` says which
metric is taken from which observation, ``recorder`` applies it. Begin with ``catalogue``.
"""
