"""Process of the listener: sockets, store, servers, signals and shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import uvicorn
import uvloop
from prometheus_client import CollectorRegistry, ProcessCollector
from starlette.types import ASGIApp

from thingspace_provider.listener.admin.app import create_admin_app
from thingspace_provider.listener.admin.deliveries_api import DeliveriesApi
from thingspace_provider.listener.admin.health import Health
from thingspace_provider.listener.admin.messages_api import MessagesApi
from thingspace_provider.listener.admin.status_api import StatusApi
from thingspace_provider.listener.forwarding.forwarder import Forwarder
from thingspace_provider.listener.forwarding.metrics import ForwardingMetrics
from thingspace_provider.listener.forwarding.service import ForwardingService
from thingspace_provider.listener.ingest.callback_endpoint import CallbackEndpoint
from thingspace_provider.listener.ingest.group_commit import GroupCommitter
from thingspace_provider.listener.ingest.metrics import IngestMetrics
from thingspace_provider.listener.ingest.responses import NOT_FOUND
from thingspace_provider.listener.observability import json_log
from thingspace_provider.listener.recovery.metrics import RecoveryMetrics
from thingspace_provider.listener.recovery.queue_recovery import QueueRecovery
from thingspace_provider.listener.runtime.file_watcher import FileWatcher
from thingspace_provider.listener.runtime.http_protocol import ConnectionLimits, HttpProtocol, OpenConnections
from thingspace_provider.listener.runtime.retention import Retention
from thingspace_provider.listener.setting_types import InvalidSettings
from thingspace_provider.listener.settings.listener_settings import ListenerSettings
from thingspace_provider.listener.store import factory
from thingspace_provider.listener.store.base import Store
from thingspace_provider.listener.store.metrics import DiskMetrics
from thingspace_provider.listener.store.readiness_check import ReadinessCheck
from thingspace_provider.listener.store.store_url import sqlite_path

if TYPE_CHECKING:
    from thingspace_provider.listener.observability.tracing import Tracing

BACKLOG = 2048
RESERVED_DESCRIPTORS = 64  # for the store, the log, and connections accepted before an older one is evicted
MIN_CONNECTIONS = 64
SHUTDOWN_GRACE_SECONDS = 3  # a response takes 2 s at most
WILDCARD_HOSTS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared, not bound
# Open or bound resources; a reload does not replace them.
RESTART_SETTINGS = (
    "store",
    "sinks",
    "host",
    "port",
    "admin_host",
    "admin_port",
    "public_url",
    "min_free_disk_space",
    "require_synchronous_standby",
    "keep_alive_seconds",
    "tracing",
)


class BindError(Exception):
    """The address cannot be bound, or too few connections would fit; the text tells why."""


class Parts(NamedTuple):
    """Constructors of the parts that make spans if tracing is on."""

    create_endpoint: Callable[..., CallbackEndpoint] = CallbackEndpoint
    create_committer: Callable[..., GroupCommitter] = GroupCommitter
    create_forwarder: Callable[..., Forwarder] = Forwarder


class TracingUnavailable(Exception):
    """Tracing is on and cannot start; the text tells why."""


class Sockets(NamedTuple):
    """Listening sockets of the callbacks and of the admin endpoints; the same one if they share an address."""

    callbacks: socket.socket
    admin: socket.socket

    @property
    def urls(self) -> tuple[str, str]:
        """Return the URLs at which this machine reaches the callbacks and the admin endpoints."""
        return _build_url(self.callbacks), _build_url(self.admin)

    def close(self) -> None:
        """Close both."""
        self.callbacks.close()
        self.admin.close()


def bind_sockets(settings: ListenerSettings) -> Sockets:
    """Bind the addresses of the settings. Raises BindError."""
    callbacks = _bind_socket(settings.host, settings.port, "--host or --port")
    if not settings.has_own_admin_address:
        return Sockets(callbacks, callbacks)
    return Sockets(callbacks, _bind_socket(*settings.admin_address, "--admin-host or --admin-port"))


def _bind_socket(host: str, port: int, options: str) -> socket.socket:
    """Return a listening socket; the IPv6 wildcard address accepts IPv4 too."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        is_dual_stack = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=is_dual_stack)
    except (socket.gaierror, UnicodeError):  # the latter for an empty or too long label
        raise BindError(f"cannot listen on {host}: this machine does not know that name") from None
    except OSError as error:
        detail = os.strerror(error.errno) if error.errno else str(error)
        raise BindError(f"cannot listen on {host}:{port}: {detail}. Give another {options}") from None


def _build_url(listening_socket: socket.socket) -> str:
    host, port = listening_socket.getsockname()[:2]
    host = WILDCARD_HOSTS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def open_store(settings: ListenerSettings) -> Store:
    """Open the store. Raises StoreOpenError."""
    sinks = [sink.name for sink in settings.sinks]
    return factory.open_store(settings.store, sinks, require_synchronous_standby=settings.require_synchronous_standby)


def open_tracing(settings: ListenerSettings) -> Tracing | None:
    """Start the export of traces if it is on. Raises TracingUnavailable."""
    if not settings.tracing:
        return None
    try:
        from thingspace_provider.listener.observability.tracing import Tracing  # noqa: PLC0415  an extra
    except ImportError:
        raise TracingUnavailable(
            "tracing is true, which needs an extra: pip install -e '.[listener,telemetry]' in a clone"
        ) from None
    try:
        return Tracing()
    except ValueError as error:
        raise TracingUnavailable(f"a variable OTEL_… is invalid: {error}") from None


def store_directory(settings: ListenerSettings) -> Path | None:
    """Return the directory of a store on this machine, else None."""
    path = sqlite_path(settings.store)
    return path.parent if path else None


def raise_descriptor_limit() -> ConnectionLimits:
    """Raise the limit of open files as far as the system permits. Returns the connection limits that fit it.

    Raises BindError if it is too low.
    """
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    granted, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if granted == resource.RLIM_INFINITY:
        return ConnectionLimits()
    if granted < RESERVED_DESCRIPTORS + MIN_CONNECTIONS:
        raise BindError(
            f"the limit of open files is {granted}, and the listener needs {RESERVED_DESCRIPTORS + MIN_CONNECTIONS} or "
            "more: raise it with `ulimit -n`, or LimitNOFILE of systemd"
        )
    return ConnectionLimits(max_connections=min(ConnectionLimits().max_connections, granted - RESERVED_DESCRIPTORS))


def run(
    settings: ListenerSettings,
    sockets: Sockets,
    store: Store,
    tracing: Tracing | None,
    limits: ConnectionLimits,
    on_ready: Callable[[], None],
    load: Callable[[], ListenerSettings],
    watcher: FileWatcher,
) -> None:
    """Serve until SIGTERM or SIGINT. Then answer the open requests and close the store.

    Calls `on_ready` when the servers accept requests, and `load` on SIGHUP and after each change of a watched file.
    """
    json_log.configure_logging()
    parts = _trace_parts(tracing) if tracing else Parts()
    uvloop.run(_serve(settings, sockets, store, parts, OpenConnections(limits), on_ready, load, watcher))
    if tracing:
        tracing.close()


async def _serve(
    settings: ListenerSettings,
    sockets: Sockets,
    store: Store,
    parts: Parts,
    connections: OpenConnections,
    on_ready: Callable[[], None],
    load: Callable[[], ListenerSettings],
    watcher: FileWatcher,
) -> None:
    registry = _create_registry()
    ingest_metrics, forwarding_metrics = IngestMetrics(registry), ForwardingMetrics(registry)
    forwarding_service = ForwardingService(settings.sinks, store.outbox, forwarding_metrics, parts.create_forwarder)
    group_committer = parts.create_committer(store, ingest_metrics, forwarding_service.notify)
    readiness_check = ReadinessCheck(
        group_committer.commit_error,
        settings.min_free_disk_space,
        store_directory(settings),
        DiskMetrics(registry) if store_directory(settings) else None,
    )
    queue_recovery = QueueRecovery(settings, group_committer, readiness_check, RecoveryMetrics(registry), store)
    messages_api = MessagesApi(store, settings.api_token)
    deliveries_api = DeliveriesApi(store, messages_api, forwarding_service)
    health = Health(readiness_check, queue_recovery, registry)
    status_api = StatusApi(messages_api, store.outbox, forwarding_service, queue_recovery, health)
    admin_app = create_admin_app(
        messages_api,
        deliveries_api,
        status_api,
        health,
        registry,
        (health.check, forwarding_metrics.refresh_backlog, queue_recovery.refresh_metrics),
    )
    is_shared = sockets.admin is sockets.callbacks
    callback_endpoint = parts.create_endpoint(
        settings,
        group_committer,
        ingest_metrics,
        queue_recovery.request_run,
        other_paths=admin_app if is_shared else NOT_FOUND,
    )
    retention = Retention(store, registry, settings.retention_days)

    def on_started() -> None:
        if all(server.started for server in servers):
            queue_recovery.start()
            on_ready()

    def reload_settings() -> None:  # accounts, credentials, tokens, retention and recovery; the others need a restart
        try:
            changed = load()
            queue_recovery.apply_settings(changed)
        except InvalidSettings as error:
            json_log.log_event("settings_reload_failed", logging.ERROR, errors=error.errors)
            health.record_reload(succeeded=False)
            return
        restart_required = [
            ListenerSettings.model_fields[name].alias
            for name in RESTART_SETTINGS
            if getattr(settings, name) != getattr(changed, name)
        ]
        callback_endpoint.settings = changed
        messages_api.api_token = changed.api_token
        retention.days = changed.retention_days
        health.record_reload(succeeded=True)
        json_log.log_event("settings_reloaded", accounts=list(changed.accounts), restart_required=restart_required)

    apps: list[ASGIApp] = [callback_endpoint] if is_shared else [callback_endpoint, admin_app]
    servers = [ListenerServer(app, connections, settings.keep_alive_seconds, on_started) for app in apps]
    background_tasks = [
        asyncio.create_task(retention.run()),
        asyncio.create_task(watcher.run(reload_settings)),
    ]
    try:
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, _stop, servers)
        loop.add_signal_handler(signal.SIGHUP, reload_settings)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])  # delivers a SIGHUP that arrived during the start
        url, admin_url = sockets.urls
        json_log.log_event("listener_started", url=url, admin_url=admin_url, accounts=list(settings.accounts))
        await asyncio.gather(*(server.serve([listening]) for server, listening in zip(servers, sockets, strict=False)))
    finally:
        for task in background_tasks:
            task.cancel()
        await asyncio.gather(queue_recovery.close(), forwarding_service.close())  # both need the store
        group_committer.close()
        messages_api.close()
        store.close()
        json_log.log_event("listener_stopped")


def _trace_parts(tracing: Tracing) -> Parts:
    from thingspace_provider.listener.runtime import traced  # noqa: PLC0415  an extra

    return Parts(
        traced.TracedEndpoint,
        partial(traced.TracedGroupCommitter, tracer=tracing.tracer),
        partial(traced.TracedForwarder, tracer=tracing.tracer),
    )


def _create_registry() -> CollectorRegistry:
    """Return a registry with the resources of this process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def _stop(servers: list[ListenerServer]) -> None:
    """Accept no new connections, answer the open requests, then end `serve`."""
    for server in servers:
        server.should_exit = True


class ListenerServer(uvicorn.Server):
    """Uvicorn server that calls `on_ready` when it accepts requests, and leaves signals to the event loop."""

    def __init__(
        self, app: ASGIApp, connections: OpenConnections, keep_alive_seconds: int, on_ready: Callable[[], None]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=partial(HttpProtocol, connections=connections),  # type: ignore[arg-type]  # Uvicorn only calls it
                ws="none",
                lifespan="off",
                interface="asgi3",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=keep_alive_seconds,
                timeout_graceful_shutdown=SHUTDOWN_GRACE_SECONDS,
            )
        )
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then call `on_ready`."""
        await super().startup(sockets)
        self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do not handle signals. Uvicorn would raise the signal again after the shutdown."""
        yield
