"""Checks of a web page in a browser: accessibility by axe-core, console, requests, width, longest task."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request

PACKAGE = Path(__file__).with_name("axe")
VIEWPORTS = [
    (390, "dark"),
    pytest.param(1280, "light", marks=pytest.mark.long),
    pytest.param(1280, "dark", marks=pytest.mark.long),
    pytest.param(390, "light", marks=pytest.mark.long),
]
HEIGHT = 844
TIME_ZONE = "America/New_York"  # never UTC
FIND_SHADOWED = """[...document.querySelectorAll("form *")].flatMap(element => [element.id, element.name])
  .filter(name => name && name in HTMLFormElement.prototype).map(name => `shadows form.${name}`)"""
RUN_AXE = (
    "async () => (await axe.run()).violations.map(found => [found.id, ...found.nodes.map(node => node.html)].join())"
)
IS_TOO_WIDE = """[document.documentElement, ...document.querySelectorAll("dialog[open]")].some(
  element => element.scrollWidth > element.clientWidth)"""


@functools.cache
def _load_axe() -> str:
    """Return axe-core, which npm installs and verifies once for each user and version. Skips the test without npm."""
    if (npm := shutil.which("npm")) is None:
        pytest.skip("npm is not installed, and axe-core needs it; run: apt-get install npm")
    lock_file = (PACKAGE / "package-lock.json").read_text(encoding="utf-8")
    version = lock_file.partition('"axe-core": "')[2].partition('"')[0]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thingspace-provider" / "axe-core"
    cache.mkdir(parents=True, exist_ok=True)
    script = cache / version / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        folder = Path(tempfile.mkdtemp(dir=cache))
        shutil.copytree(PACKAGE, folder, dirs_exist_ok=True)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        if result.returncode:
            shutil.rmtree(folder)
            pytest.skip(f"npm cannot install axe-core: {result.stderr[-300:]}")
        try:
            folder.rename(cache / version)
        except OSError:  # another process was faster
            shutil.rmtree(folder)
    return script.read_text(encoding="utf-8")


def find_violations(page: Page) -> list[str]:
    """Return the rules that axe-core finds violated, with the elements, and fields that shadow their form's members."""
    page.evaluate(_load_axe())
    violations: list[str] = page.evaluate(RUN_AXE) + page.evaluate(FIND_SHADOWED)
    return violations


def has_overflow(page: Page) -> bool:
    """Return whether the page, or an open dialog, can be scrolled sideways."""
    overflow: bool = page.evaluate(IS_TOO_WIDE)
    return overflow


def describe_failure(request: Request) -> list[str]:
    """Describe a failed request, unless a reload or the end of the page cancelled it."""
    return [] if request.failure == "net::ERR_ABORTED" else [f"{request.url} {request.failure}"]


@contextmanager
def open_page(
    browser: Browser, url: str, width: int = 1280, scheme: Any = "light", *, has_errors: bool = False
) -> Iterator[Page]:
    """Open a page in a profile of its own. At the end no error was logged and no request was blocked or sent elsewhere.

    `has_errors` permits errors, which a lost connection causes.
    """
    context = browser.new_context(
        viewport={"width": width, "height": HEIGHT},
        color_scheme=scheme,
        timezone_id=TIME_ZONE,
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(60_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith((url, "data:")) else errors.append(request.url))
    page.on("requestfailed", lambda request: errors.extend(describe_failure(request)))
    page.goto(url)
    yield page
    page.evaluate("() => new Promise(resolve => setTimeout(resolve))")  # delivers the events above
    assert has_errors or not errors, errors
    context.close()


def measure_max_task(page: Page, interact: Callable[[], None]) -> float:
    """Return the milliseconds of processor time of the longest task of the page's main thread during `interact`.

    An interaction waits for the task that runs, then for its own. Processor time does not depend on other processes.
    """
    browser = page.context.browser
    assert browser
    browser.start_tracing(
        page=page, categories=["toplevel", "devtools.timeline", "disabled-by-default-devtools.timeline"]
    )
    interact()
    events = json.loads(browser.stop_tracing())["traceEvents"]
    threads = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks = [
        event["tdur"]
        for event in events
        if "RunTask" in event["name"] and "tdur" in event and (event["pid"], event["tid"]) in threads
    ]
    assert len(tasks) > 100
    return float(max(tasks)) / 1000
