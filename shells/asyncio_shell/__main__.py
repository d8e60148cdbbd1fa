"""``python -m openqoe.shells.asyncio_shell`` is ``openqoe serve --shell asyncio``."""

import sys

from ..cli.entry_point import main

sys.argv[1:1] = ["serve", "--shell", "asyncio"]
main()
