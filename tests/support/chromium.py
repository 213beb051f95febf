"""A headless Chromium, driven over its own protocol; nothing but aiohttp is needed for that."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from typing_extensions import Self

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """The browser's path."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One browser with one page, in a profile of its own."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = await asyncio.create_subprocess_exec(
            self._path,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--remote-debugging-port=0", f"--user-data-dir={self._profile.name}", "about:blank"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        port = await asyncio.to_thread(_read_port, Path(self._profile.name) / "DevToolsActivePort")
        self._http = aiohttp.ClientSession()
        page = await self._fetch_page(port)
        self._socket = await self._http.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._socket.close()
        await self._http.close()
        self._process.terminate()
        await self._process.wait()
        self._profile.cleanup()

    async def _fetch_page(self, port: int) -> dict[str, Any]:
        """What the browser says of its tab, as soon as it has one."""
        while True:
            async with self._http.get(f"http://127.0.0.1:{port}/json") as response:
                pages = [page for page in await response.json(content_type=None) if page["type"] == "page"]
            if pages:
                return dict(pages[0])
            await asyncio.sleep(0.03)

    async def send_command(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async for message in self._socket:
            value = json.loads(message.data)
            if value.get("id") == number:
                assert "error" not in value, value
                return value["result"]
        raise ConnectionError("the browser went away")

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        result = await self.send_command(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def open(self, url: str) -> None:
        """Go to a page and wait until it is there."""
        await self.evaluate("window.left = true")
        await self.send_command("Page.navigate", url=url)
        await self.wait_until("!window.left && document.readyState === 'complete' && location.href.startsWith('http')")

    async def wait_until(self, expression: str, seconds: float = 60.0) -> None:
        """Wait until an expression is true."""
        end = asyncio.get_running_loop().time() + seconds
        while not await self.evaluate(f"(() => {{ try {{ return {expression} }} catch {{ return false }} }})()"):
            if asyncio.get_running_loop().time() > end:
                raise TimeoutError(f"{expression} in:\n{await self.evaluate('document.body.innerText')}")
            await asyncio.sleep(0.03)

    async def type(self, text: str) -> None:
        """Put text where the focus is."""
        await self.send_command("Input.insertText", text=text)

    async def press(self, key: str, code: int, text: str = "") -> None:
        """One key, down and up."""
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        await self.send_command("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        await self.send_command("Input.dispatchKeyEvent", type="keyUp", **common)


def _read_port(port_file: Path) -> int:
    """The port that the browser writes down once it listens."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        lines = port_file.read_text().splitlines() if port_file.exists() else []
        if len(lines) > 1:
            return int(lines[0])
        time.sleep(0.02)
    raise TimeoutError("the browser did not start within 30 s")
