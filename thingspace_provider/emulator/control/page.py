"""Web page of the emulator at `/`: one static file that calls the control API. Loads nothing from other hosts."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def _csp_hashes(content: bytes, tag: bytes) -> str:
    """Return the hashes of the inline blocks, so that a browser runs nothing else."""
    blocks = re.findall(rb"<%b>(.*?)</%b>" % (tag, tag), content, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(block).digest()).decode()}'" for block in blocks)


class EmulatorPage:
    """Handler of `/`. The file is read with the first request, so that the emulator starts sooner."""

    def __init__(self) -> None:
        self.routes = [Route("/", self.show, methods=["GET"])]
        self._content = b""
        self._headers: dict[str, str] = {}

    async def show(self, request: Request) -> Response:
        """Show the page."""
        del request
        if not self._content:
            self._content = Path(__file__).with_name("page.html").read_bytes()
            policy = (
                f"default-src 'none'; script-src {_csp_hashes(self._content, b'script')}; "
                f"style-src {_csp_hashes(self._content, b'style')}; connect-src 'self'; img-src data:; "
                "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
                "require-trusted-types-for 'script'; trusted-types 'none'"
            )
            self._headers = {
                "Content-Security-Policy": policy,
                "Cache-Control": "no-cache",
                "X-Content-Type-Options": "nosniff",
            }
        return Response(self._content, media_type="text/html", headers=self._headers)
