"""The worker on Trio.

``serve`` runs it as a process, ``server`` moves bytes, ``service`` keeps time and runs
effects, ``client`` sends them.
"""

from openqoe.shells.extras import needs

with needs("trio"):
    from openqoe.shells.trio_shell.serve import run
    from openqoe.shells.trio_shell.server import Server
    from openqoe.shells.trio_shell.service import Service

__all__ = ["Server", "Service", "run"]
