"""Inbox page at `/`: one static file that calls the API with a token that the operator enters."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from thingspace_provider.listener.admin.messages_api import MessagesApi

CONTENT = Path(__file__).with_name("inbox_page.html").read_bytes()


def _csp_hashes(tag: bytes) -> str:
    """Return the hashes of the inline blocks, so that a browser runs nothing else."""
    blocks = re.findall(rb"<%b>(.*?)</%b>" % (tag, tag), CONTENT, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(block).digest()).decode()}'" for block in blocks)


HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; script-src {_csp_hashes(b'script')}; "
    f"style-src {_csp_hashes(b'style')}; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class InboxPage:
    """The page needs no token, because it holds no messages. Without an apiToken there is no page."""

    def __init__(self, messages_api: MessagesApi) -> None:
        self._messages_api = messages_api

    async def show(self, request: Request) -> Response:
        """Respond with the page, or with 404 without an apiToken."""
        del request
        if not self._messages_api.api_token:
            raise HTTPException(404)
        return Response(CONTENT, media_type="text/html", headers=HEADERS)
