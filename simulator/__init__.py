"""Simulated viewers: a pure model of viewers, players, SDKs and networks.

From a seed and a start the model generates every batch that the players' SDKs, or players without
one, would send, in order of time, and the metrics that a worker must count. It has no I/O and no
clock: the sender of the batches decides when each is sent (``shells/cli/simulation_sender.py``).

    world                  tables: sites, videos, devices, countries, CDNs
    incidents              faults of the simulated world, and their times
    network                throughput of a viewer's network over time
    simulated_playback     one playback: start-up, buffer, ABR, stalls, actions of the viewer
    sdk_adapter            events of a playback: the base of both SDK generations
    first_generation, second_generation
                           events of each SDK generation, player by player
    cmcd_player            CMCD records of players without an SDK
    experience             what the viewer experiences: the truth of times and outcomes
    batching               groups events into requests, some of them late or sent twice
    truth, truth_report    the metrics that a worker must count, and the states that viewers see
    simulation             all viewers together
"""

from .batching import Batch
from .incidents import Incident, parse_incident
from .simulation import Simulation
from .truth import Expected, Fact, Period, Truth
from .world import LARGE, SMALL, WORLDS, World

__all__ = [
    "LARGE",
    "SMALL",
    "WORLDS",
    "Batch",
    "Expected",
    "Fact",
    "Incident",
    "Period",
    "Simulation",
    "Truth",
    "World",
    "parse_incident",
]
