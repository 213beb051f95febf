"""The script `comment` writes one comment and replaces it later, with both platforms' interfaces."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent / "deploy" / "pipelines" / "scripts" / "comment"
GITHUB = {"GITHUB_REPOSITORY": "o/n", "PULL_REQUEST": "7", "GITHUB_TOKEN": "token"}
GITLAB = {"CI_PROJECT_ID": "5", "CI_MERGE_REQUEST_IID": "7", "GITLAB_COMMENT_TOKEN": "token"}
Calls = list[tuple[str, str]]


class Platform(ThreadingHTTPServer):
    """Keeps comments by number; number 1 is another comment, which only quotes the marker."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.comments = {1: "See <!-- thingspace preview dev -->"}
        self.calls: Calls = []


class Handler(BaseHTTPRequestHandler):
    server: Platform

    def do_GET(self) -> None:
        comments = [{"id": number, "body": body} for number, body in self.server.comments.items()]
        self._respond(comments if self.path.endswith("&page=1") else [])

    def do_POST(self) -> None:
        body = self._read()
        self.server.calls.append((self.command, self.path))
        number = int(self.path.rpartition("/")[2]) if self.command != "POST" else len(self.server.comments) + 1
        self.server.comments[number] = body
        self._respond({})

    do_PATCH = do_PUT = do_POST  # noqa: N815  names that the base class calls

    def _read(self) -> str:
        return str(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"])

    def _respond(self, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def platform() -> Iterator[Platform]:
    with Platform() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join(30)


@pytest.mark.parametrize(
    ("environment", "url", "calls"),
    [
        (
            GITHUB,
            "GITHUB_API_URL",
            [("POST", "/repos/o/n/issues/7/comments"), ("PATCH", "/repos/o/n/issues/comments/2")],
        ),
        (
            GITLAB,
            "CI_API_V4_URL",
            [("POST", "/projects/5/merge_requests/7/notes"), ("PUT", "/projects/5/merge_requests/7/notes/2")],
        ),
    ],
    ids=["github", "gitlab"],
)
def test_comment_is_written_once_and_then_replaced(
    environment: dict[str, str], url: str, calls: Calls, platform: Platform, tmp_path: Path
) -> None:
    summary = tmp_path / "dev" / "comment.md"
    summary.parent.mkdir()
    address = f"http://127.0.0.1:{platform.server_address[1]}"
    for text in ("first", "second"):
        summary.write_text(f"<!-- thingspace preview dev -->\n{text}\n")
        variables = {**environment, url: address, "PIPELINE_OUTPUT": str(tmp_path), "no_proxy": "*"}
        subprocess.run([sys.executable, str(SCRIPT), "dev"], env=variables, check=True, timeout=60)
    assert platform.calls == calls
    assert platform.comments[2] == "<!-- thingspace preview dev -->\nsecond\n"
    assert len(platform.comments) == 2
