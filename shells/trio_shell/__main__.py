"""``python -m openqoe.shells.trio_shell`` is ``openqoe serve --shell trio``."""

import sys

from ..cli.command_entry import main

sys.argv[1:1] = ["serve", "--shell", "trio"]
main()
