"""``python -m openqoe.shells`` is the ``openqoe`` command."""

from .cli.entry_point import main

if __name__ == "__main__":
    main()
