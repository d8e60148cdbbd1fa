"""``python -m openqoe.shells`` is the ``openqoe`` command."""

from .cli.command_entry import main

if __name__ == "__main__":
    main()
