"""The dashboard: files and queries behind the pages that the worker serves at ``/``.

The core decides who may see what and under which headers (``core/api/dashboard_access.py``); here
is the content. ``static/`` holds the files.
"""

from .page_threads import BROKEN, PageThreads
from .pages import Pages

__all__ = ["BROKEN", "PageThreads", "Pages"]
