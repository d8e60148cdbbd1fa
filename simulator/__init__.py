"""Simulated viewers: a pure model of who watches what, on which player, over which network.

From a seed and a start the model tells every batch that the players' SDKs would send, in order
of time, and what a worker must count of it. There is no I/O in it and no clock; whoever sends
the batches decides when that is (``shells/cli/simulation_client.py``).

    world        sites, videos, devices, countries, CDNs: the tables
    incidents    what goes wrong, and when
    network      how fast a viewer's network is at a time
    playback     one playback: start-up, buffer, ABR, stalls, the viewer's acts
    sdk          what all SDKs send with each event
    gen1, gen2   how each generation of the SDK tells what happens, player by player
    batching     which events go into which request, and when: late and twice as well
    truth        what a worker must count
    simulation   all viewers together
"""

from .batching import Batch
from .incidents import Incident, parse_incident
from .simulation import Simulation
from .truth import Truth

__all__ = ["Batch", "Incident", "Simulation", "Truth", "parse_incident"]
