"""Command `thingspace listener`."""

from __future__ import annotations

import asyncio
import gc
import json
import os
from pathlib import Path
from typing import Any, NoReturn

import click
from pydantic.alias_generators import to_camel

from thingspace_provider.listener.forwarding.sinks.base import InvalidSink
from thingspace_provider.listener.forwarding.sinks.factory import validate_sinks
from thingspace_provider.listener.recovery import queue_drainer
from thingspace_provider.listener.runtime import pid_file, server
from thingspace_provider.listener.runtime.file_watcher import FileWatcher
from thingspace_provider.listener.setting_types import InvalidSettings
from thingspace_provider.listener.settings.listener_settings import ListenerSettings, list_settings_files, load_settings
from thingspace_provider.listener.store.base import StoreError, StoreOpenError
from thingspace_provider.listener.store.store_url import mask_store_url

EXAMPLE = """
\b
Example:
  export THINGSPACE_LISTENER_ACCOUNTS=0000123456-00001
  export THINGSPACE_LISTENER_USERNAME=plant-a
  export THINGSPACE_LISTENER_PASSWORD=…    # the password that is registered with ThingSpace
  export THINGSPACE_LISTENER_PATH_TOKEN=…  # 16 or more letters and digits
  export THINGSPACE_LISTENER_API_TOKEN=…   # for `thingspace messages`
  thingspace listener --store sqlite:////var/lib/thingspace/inbox.sqlite3

Accounts and credentials come from the environment or a settings file (JSON or YAML with the keys accounts,
username, password, previousPasswords, pathToken, apiToken, store, sinks, host, port, adminHost, adminPort, publicUrl
and others, see docs/listener.md), never from arguments. The environment wins over the file, an option over both.

With THINGSPACE_LISTENER_RECOVERY_MODE=startCallbacks and the THINGSPACE_… variables of `pulumi up`, the listener
drains the queue that ThingSpace fills while the listener is down.
"""


@click.command(epilog=EXAMPLE)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.  [default: 28200]")
@click.option(
    "--admin-host", help="Address of the inbox page, API, metrics and health.  [default: see docs/listener.md]"
)
@click.option("--admin-port", type=int, help="Port of these; 0 takes a free one.")
@click.option("--store", help="Store: sqlite:///PATH or postgresql://USER@HOST/DATABASE.")
@click.option("--settings", "file", type=click.Path(path_type=Path, dir_okay=False), help="Settings file.")
@click.option(
    "--pid-file",
    "pid",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the process id; it stays locked.",
)
@click.option("--public-url", help="URL under which ThingSpace reaches this listener.")
@click.option("--check", is_flag=True, help="Check settings, address and store, then exit.")
@click.option("--json", "as_json", is_flag=True, help="Print url, adminUrl and callbackUrls as JSON when ready.")
def command(file: Path | None, pid: Path | None, check: bool, as_json: bool, **options: Any) -> None:
    """Run the listener that receives ThingSpace's callbacks.

    Every callback is on disk before the listener responds with 200. It runs until SIGTERM or SIGINT. It reloads
    accounts, credentials and tokens when a file of the settings changes, and on SIGHUP.
    """
    overrides = {to_camel(name): value for name, value in options.items()}

    def load_and_validate() -> ListenerSettings:
        settings = load_settings(file, os.environ, overrides)
        queue_drainer.resolve_credentials(settings)
        return settings

    watcher = FileWatcher(list_settings_files(file, os.environ))
    try:
        settings = load_and_validate()
    except InvalidSettings as error:
        _exit_with_error("\n".join(f"Error: {message}" for message in error.errors), 2)
    try:
        asyncio.run(validate_sinks(settings.sinks))
    except InvalidSink as error:
        _exit_with_error(f"Error: {error}", 1)
    if check:
        _check(settings, as_json)
        return
    pid_lock = _lock_pid_file(pid) if pid else None
    try:
        limits = server.raise_descriptor_limit()
        sockets = server.bind_sockets(settings)
        store = server.open_store(settings)
        tracing = server.open_tracing(settings)
    except (server.BindError, StoreOpenError, server.TracingUnavailable) as error:
        _exit_with_error(f"Error: {error}", 1)

    def ready() -> None:
        if pid_lock:
            pid_lock.write()
        format_ready = _ready_json if as_json else _ready_text
        click.echo(format_ready(settings, *sockets.urls))

    gc.freeze()  # imported objects live as long as the process
    server.run(settings, sockets, store, tracing, limits, ready, load_and_validate, watcher)
    if pid_lock:
        pid_lock.close()


def _check(settings: ListenerSettings, as_json: bool) -> None:
    """Bind the addresses, open the store and make a test write, then release both."""
    try:
        server.raise_descriptor_limit()
        server.bind_sockets(settings).close()
        store = server.open_store(settings)
        store.check_writable()
        store.close()
        server.open_tracing(settings)
    except (server.BindError, StoreOpenError, StoreError, server.TracingUnavailable) as error:
        _exit_with_error(f"Error: {error}", 1)
    admin_host, admin_port = settings.admin_address
    summary = {
        "accounts": list(settings.accounts),
        "host": settings.host,
        "port": settings.port,
        "adminHost": admin_host,
        "adminPort": admin_port,
        "store": mask_store_url(settings.store),
    }
    if as_json:
        click.echo(json.dumps(summary))
    else:
        accounts = ", ".join(settings.accounts)
        click.echo(
            f"a listener can start: {accounts} on {settings.host}:{settings.port}, "
            f"store {mask_store_url(settings.store)}"
        )


def _lock_pid_file(path: Path) -> pid_file.PidFile:
    try:
        return pid_file.PidFile(path)
    except pid_file.AlreadyRunning:
        _exit_with_error(
            f"Error: a listener with the pid file {path} is running already: stop it or give another file", 1
        )
    except OSError as error:
        _exit_with_error(f"Error: the pid file {path} cannot be written: {error.strerror}", 1)


def _ready_json(settings: ListenerSettings, url: str, admin_url: str) -> str:
    return json.dumps({"url": url, "adminUrl": admin_url, "callbackUrls": settings.build_callback_urls(url)})


def _ready_text(settings: ListenerSettings, url: str, admin_url: str) -> str:
    """Return the output for people, without the path token of the callback URLs."""
    base = settings.public_url or url
    lines = [
        f"listening on {url}",
        f"inbox page, API, metrics and health on {admin_url}",
        f"store {mask_store_url(settings.store)}",
    ]
    lines += [f"account {name}: ThingSpace posts to {base}/callbacks/<path token>/{name}" for name in settings.accounts]
    return "\n".join([*lines, "stop with Ctrl+C"])


def _exit_with_error(message: str, status: int) -> NoReturn:
    click.echo(message, err=True)
    raise SystemExit(status)
