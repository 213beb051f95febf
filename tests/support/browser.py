"""Headless Chromium for the tests of web pages, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_MS = 60_000  # Playwright's 5 s are too short for a machine that runs other tests at the same time


def _find_browser() -> str | None:
    """Return the path of the installed browser."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@pytest.fixture
def browser() -> Iterator[Browser]:
    """Browser of this test alone, because Playwright's event loop would block asyncio in the tests that follow."""
    path = _find_browser()
    if path is None:
        pytest.skip("Chromium is not installed; run: apt-get install chromium")
    expect.set_options(timeout=TIMEOUT_MS)
    arguments = ["--no-sandbox"] if os.getuid() == 0 else []  # Chromium's sandbox does not support root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def browser_page(browser: Browser) -> Page:
    """Empty tab in a profile of its own."""
    page = browser.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    return page
