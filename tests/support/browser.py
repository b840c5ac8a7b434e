"""Debian's Chromium, for tests of the page."""

import os
import shutil
import time
from contextlib import suppress

import pytest

from tests.support.pipeline import SLOW

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = CHROMIUM is None and os.environ.get("HEARTHWATCH_TEST_REQUIRE") != "all"
needs_chromium = pytest.mark.skipif(MISSING, reason="no Chromium: apt install chromium")


def wait_for(page, expression, *args):
    """Wait until it is true in the page; `wait_for_function` takes a promise for true at once, and the page forbids it to ask again."""
    from playwright.sync_api import Error as BrowserError

    deadline = time.monotonic() + SLOW
    while True:
        with suppress(BrowserError):  # the page was loaded again meanwhile
            if page.evaluate(expression, *args):
                return
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(20)
