"""``python -m openqoe.shells`` is the ``openqoe`` command."""

from openqoe.shells.command import main

main()
