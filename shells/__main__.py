"""``python -m openqoe.shells`` is the ``openqoe`` command."""

from openqoe.shells.command import main

if __name__ == "__main__":
    main()
