"""The listener's process: socket, store, server, signals, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
import uvloop

from thingspace_provider.listener.admin.deliveries_api import DeliveriesApi
from thingspace_provider.listener.admin.health import Health
from thingspace_provider.listener.admin.messages_api import MessagesApi
from thingspace_provider.listener.app import ListenerApp
from thingspace_provider.listener.forwarding.service import ForwardingService
from thingspace_provider.listener.ingest.callback_endpoint import CallbackEndpoint
from thingspace_provider.listener.ingest.connection_limits import (
    KEEP_ALIVE_SECONDS,
    MAX_CONNECTIONS,
    LimitedHttpProtocol,
)
from thingspace_provider.listener.ingest.group_commit import GroupCommitter
from thingspace_provider.listener.observability import json_log
from thingspace_provider.listener.observability.metrics import Metrics
from thingspace_provider.listener.recovery.queue_recovery import QueueRecovery
from thingspace_provider.listener.runtime.retention import Retention
from thingspace_provider.listener.settings.listener_settings import ListenerSettings
from thingspace_provider.listener.settings.settings_file import InvalidSettings
from thingspace_provider.listener.store import factory
from thingspace_provider.listener.store.base import Store
from thingspace_provider.listener.store.readiness_check import ReadinessCheck
from thingspace_provider.listener.store.store_url import sqlite_path

BACKLOG = 2048
RESERVED_DESCRIPTORS = 64  # for the store, the log, and connections that are taken before an elder one is gone
SHUTDOWN_GRACE_SECONDS = 3  # an answer takes 2 at most
WILDCARD_HOSTS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared, not bound


class BindError(Exception):
    """Nobody can listen there; the text says why."""


def bind_socket(host: str, port: int) -> socket.socket:
    """A listening socket. Raises AddressTaken."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except (socket.gaierror, UnicodeError):  # the latter for what can be no name: an empty or a long label
        raise BindError(f"cannot listen on {host}: this machine does not know that name") from None
    except OSError as error:
        detail = os.strerror(error.errno) if error.errno else str(error)
        raise BindError(f"cannot listen on {host}:{port}: {detail}. Give another --host or --port") from None


def build_url(listening_socket: socket.socket) -> str:
    """Where it can be reached from this machine."""
    host, port = listening_socket.getsockname()[:2]
    host = WILDCARD_HOSTS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def open_store(settings: ListenerSettings) -> Store:
    """The store that the settings name. Raises StoreUnusable."""
    return factory.open_store(settings.store, [sink.name for sink in settings.sinks])


def store_directory(settings: ListenerSettings) -> Path | None:
    """Where the store lies, if that is on this machine."""
    path = sqlite_path(settings.store)
    return path.parent if path else None


def raise_descriptor_limit() -> None:
    """As many open connections as the system grants: the default of a shell is soon used up."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    granted, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if granted != resource.RLIM_INFINITY:
        LimitedHttpProtocol.max_connections = min(MAX_CONNECTIONS, granted - RESERVED_DESCRIPTORS)


def run(
    settings: ListenerSettings,
    listening_socket: socket.socket,
    store: Store,
    on_ready: Callable[[], None],
    reload: Callable[[], ListenerSettings],
) -> None:
    """Serve until SIGTERM or SIGINT, answer what is under way, close the store.

    Calls `ready` once it serves, and on SIGHUP `reload` for settings that are to hold from then on.
    """
    json_log.configure_logging()
    raise_descriptor_limit()
    uvloop.run(_serve(settings, listening_socket, store, on_ready, reload))


async def _serve(
    settings: ListenerSettings,
    listening_socket: socket.socket,
    store: Store,
    on_ready: Callable[[], None],
    reload: Callable[[], ListenerSettings],
) -> None:
    metrics = Metrics()
    group_committer = GroupCommitter(store, metrics)
    messages_api = MessagesApi(store, settings.api_token)
    readiness_check = ReadinessCheck(group_committer, settings.min_free_disk_space, store_directory(settings))
    queue_recovery = QueueRecovery(settings, group_committer, readiness_check, metrics, store)
    callback_endpoint = CallbackEndpoint(settings, group_committer, metrics, queue_recovery.request_run)
    forwarding_service = ForwardingService(settings.sinks, store.outbox, metrics.forwarding)
    group_committer.on_commit = forwarding_service.notify
    deliveries_api = DeliveriesApi(store, messages_api, forwarding_service)
    health = Health(readiness_check, queue_recovery)
    retention = Retention(store, metrics, settings.retention_days)

    def on_started() -> None:
        queue_recovery.start()
        on_ready()

    retention_task = asyncio.create_task(retention.run())
    try:
        server = ListenerServer(
            ListenerApp(callback_endpoint, messages_api, deliveries_api, health, metrics), on_started
        )
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, server.stop)
        loop.add_signal_handler(
            signal.SIGHUP,
            _reload_settings,
            settings,
            callback_endpoint,
            messages_api,
            queue_recovery,
            retention,
            reload,
        )
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])  # what came since the start is answered now
        json_log.log_event("listening", url=build_url(listening_socket), accounts=list(settings.accounts))
        await server.serve(sockets=[listening_socket])
    finally:
        retention_task.cancel()
        await asyncio.gather(queue_recovery.close(), forwarding_service.close())  # both need the store
        group_committer.close()
        messages_api.close()
        store.close()
        json_log.log_event("stopped")


def _reload_settings(
    initial: ListenerSettings,
    callback_endpoint: CallbackEndpoint,
    messages_api: MessagesApi,
    queue_recovery: QueueRecovery,
    retention: Retention,
    reload: Callable[[], ListenerSettings],
) -> None:
    """Take up accounts, credentials and tokens; what is bound or open stays as it `started` until a restart."""
    try:
        settings = reload()
        queue_recovery.apply_settings(settings)
    except InvalidSettings as error:
        json_log.log_event("settings not taken up: the old ones hold", logging.ERROR, problems=error.errors)
        return
    restart_required = [
        name
        for name in ("store", "sinks", "host", "port", "public_url", "min_free_disk_space")
        if getattr(initial, name) != getattr(settings, name)
    ]
    callback_endpoint.settings = settings
    messages_api.api_token = settings.api_token
    retention.days = settings.retention_days
    json_log.log_event("settings taken up", accounts=list(settings.accounts), after_restart=restart_required)


class ListenerServer(uvicorn.Server):
    """Uvicorn that says when it is ready and takes a signal for an order, not for a failure."""

    def __init__(self, app: ListenerApp, on_ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=LimitedHttpProtocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=SHUTDOWN_GRACE_SECONDS,
            )
        )
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, then tell."""
        await super().startup(sockets)
        self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the loop: Uvicorn would end the process by the signal once more."""
        yield

    def stop(self) -> None:
        """Take no new connections, answer what is under way, end."""
        self.should_exit = True
