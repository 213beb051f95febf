"""LocalListener: a listener process on this machine, for development.

The process has a session of its own and outlives `pulumi up`. Its settings, log and store lie in one folder, and
the store is never removed: stored texts survive restart, update and delete.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from pathlib import Path

from thingspace_provider.api.errors import ThingSpaceError
from thingspace_provider.lifecycle import listener_process, validation
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
PID_FILE = "listener.pid"
MAX_START_ATTEMPTS = 5  # tries to get hold of a free port
PORT_IN_USE = f"cannot listen on {HOST}"  # how a listener says that its port is taken
CREDENTIAL_KEYS = ("username", "password", "previousPassword", "previousPasswords", "pathToken")
SETTINGS = ("accountNames", *CREDENTIAL_KEYS, "port", "stateDir")
PORT_CANDIDATES = (*range(28200, 28221), *range(50551, 50560), *range(9001, 9007))  # ports that ThingSpace accepts


class ListenerStartError(ThingSpaceError):
    """The local listener process could not be started."""


class LocalListenerLifecycle:
    """inputs: SETTINGS (port is optional). outputs: these, url, port, pid, running, revision. id: the folder.

    `revision` changes with every start, so that what depends on it can fetch the texts that were queued meanwhile.
    """

    def check(self, news: State) -> CheckResult:
        """Find wrong inputs; no network."""
        checked = {key: news[key] for key in SETTINGS if news.get(key) is not None}
        failures = validation.check_credential(news, "username", "password", "previousPassword")
        failures += validation.check_password_list(news, "previousPasswords")
        names = news.get("accountNames")
        if not is_unknown(names):
            if not isinstance(names, list) or not names:
                failures.append(CheckFailure("accountNames", 'a list of accounts is needed, as ["0000123456-00001"]'))
            else:
                failures += [error for name in names for error in validation.account_name_errors("accountNames", name)]
        if "port" in checked and not is_unknown(checked["port"]):
            failures += _port_errors(checked)
        return CheckResult(checked, failures)

    def diff(self, olds: State, news: State, fingerprint_of: FingerprintOf) -> DiffResult:
        """Another folder is another listener; anything else, also that it does not run, restarts it.

        previousPasswords change with the password only, and a preview does not know those that an old state has not.
        """
        del fingerprint_of
        compared = [key for key in SETTINGS if key not in {"port", "previousPasswords"}]
        compared += ["port"] if news.get("port") is not None else []
        changed = [key for key in compared if olds.get(key) != news.get(key)]
        moved = "stateDir" in changed and not is_unknown(news.get("stateDir"))
        return DiffResult(bool(changed) or not olds.get("running"), ["stateDir"] if moved else [], moved)

    def create(self, context: Context, inputs: State) -> CreateResult:
        """Start it; one that an interrupted create left running is restarted."""
        return CreateResult(inputs["stateDir"], self._restart(context, inputs))

    def read(self, context: Context, outputs: State) -> ReadResult:
        """Whether the process lives."""
        pid = listener_process.running_pid(_pid_file(outputs))
        if pid is None and outputs.get("running"):
            context.log(
                f"the local listener {outputs['stateDir']} does not run any more; the next `pulumi up` starts it. "
                f"Its last words are in {outputs['stateDir']}/listener.log."
            )
        actual = {**outputs, "running": pid is not None, "pid": pid or 0}
        wanted = {key: outputs[key] for key in SETTINGS if outputs.get(key) is not None and key != "port"}
        if outputs.get("portGiven"):
            wanted["port"] = outputs["port"]
        return ReadResult(actual, wanted)

    def update(self, context: Context, olds: State, news: State) -> State:
        """Restart it on the same store."""
        del olds
        return self._restart(context, news)

    def delete(self, context: Context, outputs: State) -> None:
        """Stop it; its folder stays, because texts that were acknowledged are nowhere else."""
        listener_process.stop(_pid_file(outputs))
        context.log(f"the local listener is stopped; the texts it stored stay in {outputs['stateDir']}.")

    def _restart(self, context: Context, news: State) -> State:
        directory = _state_directory(news)
        _create_state_directory(directory)
        pid_file = _pid_file(news)
        previous = _read_settings(directory)
        is_running = listener_process.running_pid(pid_file) is not None
        port = _choose_port(news, previous, is_running=is_running)
        if is_running:
            listener_process.stop(pid_file)
        port, pid = _start(directory, news, port, previous.get("apiToken") or secrets.token_urlsafe(24))
        context.log(f"the local listener runs as process {pid} on port {port}. It is for development only.")
        return {
            **news,
            "port": port,
            "portGiven": news.get("port") is not None,
            "url": f"http://{HOST}:{port}",
            "pid": pid,
            "running": True,
            "revision": context.timestamp(),
        }


def _start(directory: Path, news: State, port: int, api_token: str) -> tuple[int, int]:
    """Start it; on another port when another program was quicker to take one that we chose. Returns port and pid."""
    command = ["-m", "thingspace_provider.cli", "listener", "--json"]
    command += ["--settings", str(directory / "settings.json"), "--pid-file", str(directory / PID_FILE)]
    for remaining in reversed(range(MAX_START_ATTEMPTS)):
        _write_settings(directory, news, port, api_token)
        try:
            return port, listener_process.start(command, directory / PID_FILE, directory / "listener.log")
        except listener_process.ProcessStartError as error:
            if not remaining or news.get("port") is not None or PORT_IN_USE not in str(error):
                raise ListenerStartError(
                    "starting the local listener",
                    detail=str(error),
                    hint=f"More may be in {news['stateDir']}/listener.log. It needs the extra: pip install "
                    "'thingspace-provider[listener]'.",
                ) from None
        port = _choose_port(news, {}, is_running=False)
    raise AssertionError  # the last start returns or raises


def _port_errors(checked: State) -> list[CheckFailure]:
    port = checked["port"]
    if isinstance(port, float) and port.is_integer():
        port = checked["port"] = int(port)
    if not validation.is_accepted_port(port):
        return [
            CheckFailure(
                "port", f"{port} is refused by ThingSpace for callbacks; it accepts {validation.ACCEPTED_PORTS_TEXT}"
            )
        ]
    return []


def _choose_port(news: State, previous: State, *, is_running: bool) -> int:
    """The port asked for if it is free, else the one used before, else the first free one."""
    own_port = previous.get("port") if is_running else None  # is about to be free
    requested = news.get("port")
    if requested is not None:
        if int(requested) != own_port and not listener_process.is_port_free(HOST, int(requested)):
            raise ListenerStartError(
                "starting the local listener",
                detail=f"port {int(requested)} on {HOST} is already in use by another program",
                hint="End that program, or choose another port, or leave port out to have a free one chosen.",
            )
        return int(requested)
    for port in dict.fromkeys([previous.get("port"), *PORT_CANDIDATES]):
        if isinstance(port, int) and (port == own_port or listener_process.is_port_free(HOST, port)):
            return port
    raise ListenerStartError(
        "starting the local listener",
        detail="none of the ports that ThingSpace accepts is free on this machine",
        hint="End the programs that use them (28200-28220, 50551-50559, 9001-9006).",
    )


def _state_directory(state: State) -> Path:
    """Where settings, log and store lie; a relative folder is in the program's."""
    return Path(state["stateDir"]).absolute()


def _create_state_directory(directory: Path) -> None:
    """Make it, unless it is there, and see that it can be written to."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except (OSError, ValueError) as error:  # the latter for a null byte
        raise ListenerStartError(
            "starting the local listener",
            detail=f"its folder {directory} cannot be used: {getattr(error, 'strerror', error)}",
            hint="Make it a folder that you may write to, or name another with state_dir or THINGSPACE_STATE_DIR.",
        ) from None


def _pid_file(state: State) -> Path:
    return _state_directory(state) / PID_FILE


def _read_settings(directory: Path) -> State:
    """The settings of the last start, or nothing."""
    try:
        settings = json.loads((directory / "settings.json").read_text())
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _write_settings(directory: Path, news: State, port: int, api_token: str) -> None:
    """Write the listener's settings, readable by this user alone."""
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
    }
    scratch = directory / "settings.json.new"
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123  the mode must be there before the content
        json.dump(settings, file, indent=2)
    scratch.replace(directory / "settings.json")
