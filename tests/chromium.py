"""Where a real Chromium is, for the tests that look at pages with one."""

from __future__ import annotations

import os
import shutil

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str:
    """A Chromium to look with. Where there is none, the skip says how to get one."""
    for name in (os.environ.get("SPIKEGPT_NEURO_BROWSER", ""), *BROWSERS):
        if name and (found := shutil.which(name)):
            return found
    pytest.skip(
        "no Chromium found: apt-get install chromium, or set SPIKEGPT_NEURO_BROWSER to one; "
        "then: pytest tests -m browser"
    )
