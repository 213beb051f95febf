"""The listener's process: socket, store, server, signals, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
import uvloop

from thingspace_provider.listener.app import Listener
from thingspace_provider.listener.door import Door
from thingspace_provider.listener.health import Health
from thingspace_provider.listener.inbox import Inbox
from thingspace_provider.listener.patience import IDLE_SECONDS, PatientProtocol
from thingspace_provider.listener.reading import Reading
from thingspace_provider.listener.settings import SQLITE, Settings
from thingspace_provider.listener.sqlite import SqliteStore
from thingspace_provider.listener.store import Store

BACKLOG = 2048
DRAIN_SECONDS = 3  # an answer takes 2 at most
ANYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared, not bound


class AddressTaken(Exception):
    """Nobody can listen there; the text says why."""


def bound(host: str, port: int) -> socket.socket:
    """A listening socket. Raises AddressTaken."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except socket.gaierror:
        raise AddressTaken(f"cannot listen on {host}: this machine does not know that name") from None
    except OSError as reason:
        why = os.strerror(reason.errno) if reason.errno else str(reason)
        raise AddressTaken(f"cannot listen on {host}:{port}: {why}. Give another --host or --port") from None


def url_of(listening: socket.socket) -> str:
    """Where it can be reached from this machine."""
    host, port = listening.getsockname()[:2]
    host = ANYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def opened(settings: Settings) -> Store:
    """The store that the settings name. Raises StoreUnusable."""
    return SqliteStore(Path(settings.store.removeprefix(SQLITE)))


def allow_connections() -> None:
    """As many open connections as the system grants: the default of a shell is soon used up."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def run(settings: Settings, listening: socket.socket, store: Store, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT, answer what is under way, close the store. Calls `ready` once it serves."""
    allow_connections()
    uvloop.run(_serve(settings, listening, store, ready))


async def _serve(settings: Settings, listening: socket.socket, store: Store, ready: Callable[[], None]) -> None:
    inbox = Inbox(store)
    reading = Reading(store, settings.api_token)
    try:
        server = Server(Listener(Door(settings, inbox), reading, Health(inbox)), ready)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        await server.serve(sockets=[listening])
    finally:
        inbox.close()
        reading.close()
        store.close()


class Server(uvicorn.Server):
    """Uvicorn that says when it is ready and takes a signal for an order, not for a failure."""

    def __init__(self, app: Listener, ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=PatientProtocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=DRAIN_SECONDS,
            )
        )
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, then tell."""
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the loop: Uvicorn would end the process by the signal once more."""
        yield

    def stop(self) -> None:
        """Take no new connections, answer what is under way, end."""
        self.should_exit = True
