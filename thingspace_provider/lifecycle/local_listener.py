"""LocalListener: a listener process on this machine, for development.

The process has its own session and outlives `pulumi up`. One directory holds its settings, log and store. The store is
never removed, so messages survive restart, update and delete.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from thingspace_provider.api.errors import ThingSpaceError
from thingspace_provider.lifecycle import validation
from thingspace_provider.lifecycle.listener_process import DetachedProcess, ProcessStartError, is_port_free
from thingspace_provider.lifecycle.model import (
    CheckFailure,
    CheckResult,
    Context,
    CreateResult,
    DiffResult,
    FingerprintOf,
    ReadResult,
    State,
    is_unknown,
)

HOST = "127.0.0.1"
INPUT_KEYS = ("accountNames", "username", "password", "previousPasswords", "pathToken", "port", "stateDir")
PORT_CANDIDATES = (*range(28200, 28221), *range(50551, 50560), *range(9001, 9007))  # ThingSpace accepts these
MAX_START_ATTEMPTS = 5  # each on another port
PORT_IN_USE = f"cannot listen on {HOST}"  # part of the listener's log line if its port is in use
START_ACTION = "starting the local listener"


class ListenerStartError(ThingSpaceError):
    """The local listener process could not be started."""


class LocalListenerLifecycle:
    """Lifecycle of a listener process. The id is its directory.

    Inputs: accountNames, username, password, previousPasswords, pathToken, port (optional), stateDir.
    Outputs: the inputs, url, port, portIsFixed, pid, running, revision (the start time: resources that depend on it
    update after a restart).

    Args:
        port_candidates: ports to choose from if the program sets none.
        is_port_free: whether a server can listen on a host and port now.
    """

    def __init__(
        self,
        port_candidates: Sequence[int] = PORT_CANDIDATES,
        is_port_free: Callable[[str, int], bool] = is_port_free,
    ) -> None:
        self._port_candidates = port_candidates
        self._is_port_free = is_port_free
        # Directory -> revision, for the processes that this process has started. Pulumi creates a replacement before
        # it deletes the old resource, and both are the same listener process.
        self._revisions: dict[Path, str] = {}

    def check(self, news: State) -> CheckResult:
        """Validate the inputs."""
        checked = {key: news[key] for key in INPUT_KEYS if news.get(key) is not None}
        failures = [
            *validation.check_credential(news, "username", "password"),
            *validation.check_password_list(news, "previousPasswords"),
            *_check_account_names(news),
        ]
        if "port" in checked and not is_unknown(checked["port"]):
            failures += _check_port(checked)
        return CheckResult(checked, failures)

    def diff(self, olds: State, news: State, fingerprint_of: FingerprintOf) -> DiffResult:
        """Replace the listener if its directory differs; restart it if another input differs or it does not run."""
        del fingerprint_of
        compared = [key for key in INPUT_KEYS if key != "port" or news.get("port") is not None]
        changed = [key for key in compared if olds.get(key) != news.get(key)]
        must_replace = "stateDir" in changed and not is_unknown(news.get("stateDir"))
        must_update = bool(changed) or not olds.get("running")
        return DiffResult(must_update, ["stateDir"] if must_replace else [], delete_before_replace=must_replace)

    def create(self, context: Context, inputs: State) -> CreateResult:
        """Start the listener; restart one that an interrupted create left running."""
        return CreateResult(inputs["stateDir"], self._restart(context, inputs))

    def read(self, context: Context, id_: str, outputs: State) -> ReadResult | None:
        """Report whether the process runs. By id, None means that the directory has no listener."""
        if "url" not in outputs:
            port = _read_settings(Path(id_)).get("port")
            if port is None:
                return None
            is_fixed = "port" in outputs
            outputs = {
                **outputs,
                "stateDir": id_,
                "port": port,
                "portIsFixed": is_fixed,
                "url": _url(port),
                "revision": "",
            }
        pid = _process(outputs).running_pid()
        if pid is None and outputs.get("running"):
            context.log(
                f"{_describe(outputs)}: not running. The next `pulumi up` starts it. Its log is "
                f"{outputs['stateDir']}/listener.log."
            )
        actual = {**outputs, "running": pid is not None, "pid": pid or 0}
        inputs = {key: outputs[key] for key in INPUT_KEYS if outputs.get(key) is not None}
        if not outputs.get("portIsFixed"):
            inputs.pop("port", None)
        return ReadResult(actual, inputs)

    def update(self, context: Context, olds: State, news: State) -> State:
        """Restart the listener on the same store."""
        del olds
        return self._restart(context, news)

    def delete(self, context: Context, outputs: State) -> None:
        """Stop the process. Its directory stays, because it holds the only copy of acknowledged messages."""
        if self._revisions.get(_state_directory(outputs), outputs.get("revision")) != outputs.get("revision"):
            context.log(f"{_describe(outputs)}: not stopped, because this update has started it again.")
            return
        _process(outputs).stop()
        context.log(f"{_describe(outputs)}: stopped. Its messages stay in that directory.")

    def _restart(self, context: Context, news: State) -> State:
        directory = _state_directory(news)
        _create_state_directory(directory)
        process = _process(news)
        previous = _read_settings(directory)
        is_running = process.running_pid() is not None
        port = self._choose_port(news, previous, is_running=is_running)
        if is_running:
            process.stop()
        port, pid = self._start(news, port, previous.get("apiToken") or secrets.token_urlsafe(24))
        context.log(f"{_describe(news)}: running as process {pid} on port {port}. Use it for development only.")
        revision = self._revisions[directory] = context.timestamp()
        return {
            **news,
            "port": port,
            "portIsFixed": news.get("port") is not None,
            "url": _url(port),
            "pid": pid,
            "running": True,
            "revision": revision,
        }

    def _start(self, news: State, port: int, api_token: str) -> tuple[int, int]:
        """Start the process and return its port and pid.

        Try another port if another program took a chosen one in the meantime.
        """
        directory, process = _state_directory(news), _process(news)
        arguments = ["-m", "thingspace_provider.cli", "listener", "--json"]
        arguments += ["--settings", str(directory / "settings.json"), "--pid-file", str(process.pid_file)]
        for remaining_attempts in reversed(range(MAX_START_ATTEMPTS)):
            _write_settings(directory, news, port, api_token)
            try:
                return port, process.start(arguments, directory / "listener.log")
            except ProcessStartError as error:
                if not remaining_attempts or news.get("port") is not None or PORT_IN_USE not in str(error):
                    raise ListenerStartError(
                        START_ACTION,
                        detail=str(error),
                        hint=f"Its log is {news['stateDir']}/listener.log. The listener needs an extra: "
                        "pip install -e '.[listener]' in a clone.",
                    ) from None
            port = self._choose_port(news, {}, is_running=False)
        raise AssertionError  # the last attempt returns or raises

    def _choose_port(self, news: State, previous: State, *, is_running: bool) -> int:
        """Return the port of the inputs, else the previous port if it is free, else the first free candidate."""
        own_port = previous.get("port") if is_running else None  # free after the stop
        requested = news.get("port")
        if requested is not None:
            if int(requested) != own_port and not self._is_port_free(HOST, int(requested)):
                raise ListenerStartError(
                    START_ACTION,
                    detail=f"port {int(requested)} on {HOST} is already in use by another program",
                    hint="Stop that program, set another port, or remove port to use any free one.",
                )
            return int(requested)
        for port in dict.fromkeys([previous.get("port"), *self._port_candidates]):
            if isinstance(port, int) and (port == own_port or self._is_port_free(HOST, port)):
                return port
        raise ListenerStartError(
            START_ACTION,
            detail="none of the ports that ThingSpace accepts is free on this machine",
            hint="Stop the programs that use them (28200-28220, 50551-50559, 9001-9006).",
        )


def _check_account_names(news: State) -> list[CheckFailure]:
    names = news.get("accountNames")
    if is_unknown(names):
        return []
    if not isinstance(names, list) or not names:
        return [CheckFailure("accountNames", 'must be a list of account names, for example ["0000123456-00001"]')]
    return [failure for name in names for failure in validation.account_name_errors("accountNames", name)]


def _check_port(checked: State) -> list[CheckFailure]:
    """Validate the port and convert a whole float, as the engine sends numbers, into an integer."""
    port = checked["port"]
    if isinstance(port, float) and port.is_integer():
        port = checked["port"] = int(port)
    if validation.is_accepted_port(port):
        return []
    return [CheckFailure("port", validation.describe_rejected_port(port))]


def _url(port: int) -> str:
    return f"http://{HOST}:{port}"


def _describe(state: State) -> str:
    return f"local listener {state['stateDir']}"


def _state_directory(state: State) -> Path:
    """Return the absolute directory; a relative one is in the program's directory."""
    return Path(state["stateDir"]).absolute()


def _process(state: State) -> DetachedProcess:
    return DetachedProcess(_state_directory(state) / "listener.pid")


def _create_state_directory(directory: Path) -> None:
    """Create the directory if it does not exist, and check that it belongs to this user and is writable.

    It holds passwords: new directories are accessible by this user only, and Git ignores the content.
    """
    try:
        for path in (*reversed(directory.parents), directory):
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
        status = directory.stat()
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ListenerStartError(
                START_ACTION,
                detail=f"other users can write to its directory {directory}, which holds passwords",
                hint=f"Run `chown {os.geteuid()} {directory}` and `chmod 700 {directory}`, or set another directory.",
            )
        (directory / ".gitignore").write_text("*\n", encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError for a null byte
        raise ListenerStartError(
            START_ACTION,
            detail=f"its directory {directory} cannot be used: {getattr(error, 'strerror', error)}",
            hint="Make the directory writable, or set another one with state_dir or THINGSPACE_STATE_DIR.",
        ) from None


def _read_settings(directory: Path) -> State:
    """Return the settings of the last start, or an empty dictionary."""
    try:
        settings = json.loads((directory / "settings.json").read_text())
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _write_settings(directory: Path, news: State, port: int, api_token: str) -> None:
    """Write the listener's settings file, readable only by this user."""
    settings = {
        "accounts": news["accountNames"],
        "username": news.get("username") or "",
        "password": news.get("password") or "",
        "previousPasswords": news.get("previousPasswords") or [],
        "pathToken": news.get("pathToken") or "",
        "apiToken": api_token,
        "store": f"sqlite:///{directory / 'inbox.sqlite3'}",
        "host": HOST,
        "port": port,
        "adminHost": HOST,
        "adminPort": port,
    }
    with tempfile.NamedTemporaryFile("w", dir=directory, prefix="settings.", delete=False, encoding="utf-8") as file:
        json.dump(settings, file, indent=2)
    Path(file.name).replace(directory / "settings.json")
