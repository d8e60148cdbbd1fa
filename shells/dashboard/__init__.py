"""The dashboard: files and queries behind the pages that the worker serves at ``/``.

The core decides who may see what and under which headers (``core/api/dashboard.py``); here is
the content. ``static/`` holds the files.
"""

from openqoe.shells.dashboard.pages import Pages

__all__ = ["Pages"]
