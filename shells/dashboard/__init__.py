"""The dashboard: files and queries behind the pages that the worker serves at ``/``.

The core decides who may see what and under which headers (``core/api/dashboard.py``); here is
the content. ``static/`` holds the files.
"""

from openqoe.shells.dashboard.pages import Pages
from openqoe.shells.dashboard.threads import BROKEN, PageThreads

__all__ = ["BROKEN", "PageThreads", "Pages"]
