"""``python -m openqoe.shells.trio_shell`` is ``openqoe serve --shell trio``."""

import sys

from ..cli.entry_point import main

sys.argv[1:1] = ["serve", "--shell", "trio"]
main()
