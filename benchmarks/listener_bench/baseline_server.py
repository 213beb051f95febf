"""Baseline servers: `each` commits every request separately, `none` stores nothing.

python baseline_server.py each|none FILE
"""

from __future__ import annotations

import json
import socket
import sys

import apsw
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def main(kind: str, store: str) -> None:
    """Serve until SIGTERM; the first line of the output has the URL."""
    connection = apsw.Connection(store)
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, account TEXT, devices TEXT, text TEXT)")

    async def receive(request: Request) -> Response:
        body = await request.json()
        if kind == "each":
            row = (request.path_params["account"], json.dumps(body["deviceIds"]), body["smsMessage"])
            connection.execute("INSERT INTO messages (account, devices, text) VALUES (?, ?, ?)", row)
        return Response()

    app = Starlette(routes=[Route("/callbacks/{token}/{account}", receive, methods=["POST"])])
    config = uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, log_level="error", lifespan="off")
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
        print(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}), flush=True)
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main(*sys.argv[1:])
