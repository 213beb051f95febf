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
    Checked,
    Context,
    Created,
    Current,
    Difference,
    Failure,
    State,
    Where,
    is_unknown,
)

HOST = "127.0.0.1"
PID_FILE = "listener.pid"
STARTS = 5  # tries to get hold of a free port
TAKEN = f"cannot listen on {HOST}"  # how a listener says that its port is taken
CREDENTIAL = ("username", "password", "previousPassword", "previousPasswords", "pathToken")
SETTINGS = ("accountNames", *CREDENTIAL, "port", "stateDir")
CHOICE = (*range(28200, 28221), *range(50551, 50560), *range(9001, 9007))  # ports that ThingSpace accepts


class ListenerNotStarted(ThingSpaceError):
    """The local listener process could not be started."""


class LocalListener:
    """inputs: SETTINGS (port is optional). outputs: these, url, port, pid, running, revision. id: the folder.

    `revision` changes with every start, so that what depends on it can fetch the texts that were queued meanwhile.
    """

    def check(self, news: State) -> Checked:
        """Find wrong inputs; no network."""
        checked = {key: news[key] for key in SETTINGS if news.get(key) is not None}
        failures = validation.credential(news, "username", "password", "previousPassword")
        failures += validation.credentials(news, "previousPasswords")
        names = news.get("accountNames")
        if not is_unknown(names):
            if not isinstance(names, list) or not names:
                failures.append(Failure("accountNames", 'a list of accounts is needed, as ["0000123456-00001"]'))
            else:
                failures += [problem for name in names for problem in validation.account_problems("accountNames", name)]
        if "port" in checked and not is_unknown(checked["port"]):
            failures += _port_problems(checked)
        return Checked(checked, failures)

    def diff(self, olds: State, news: State, where: Where) -> Difference:
        """Another folder is another listener; anything else, also that it does not run, restarts it.

        previousPasswords change with the password only, and a preview does not know those that an old state has not.
        """
        del where
        compared = [key for key in SETTINGS if key not in {"port", "previousPasswords"}]
        compared += ["port"] if news.get("port") is not None else []
        changed = [key for key in compared if olds.get(key) != news.get(key)]
        moved = "stateDir" in changed and not is_unknown(news.get("stateDir"))
        return Difference(bool(changed) or not olds.get("running"), ["stateDir"] if moved else [], moved)

    def create(self, context: Context, inputs: State) -> Created:
        """Start it; one that an interrupted create left running is restarted."""
        return Created(inputs["stateDir"], self._restart(context, inputs))

    def read(self, context: Context, outputs: State) -> Current:
        """Whether the process lives."""
        pid = listener_process.holder(_pid_file(outputs))
        if pid is None and outputs.get("running"):
            context.say(
                f"the local listener {outputs['stateDir']} does not run any more; the next `pulumi up` starts it. "
                f"Its last words are in {outputs['stateDir']}/listener.log."
            )
        actual = {**outputs, "running": pid is not None, "pid": pid or 0}
        wanted = {key: outputs[key] for key in SETTINGS if outputs.get(key) is not None and key != "port"}
        if outputs.get("portGiven"):
            wanted["port"] = outputs["port"]
        return Current(actual, wanted)

    def update(self, context: Context, olds: State, news: State) -> State:
        """Restart it on the same store."""
        del olds
        return self._restart(context, news)

    def delete(self, context: Context, outputs: State) -> None:
        """Stop it; its folder stays, because texts that were acknowledged are nowhere else."""
        listener_process.stop(_pid_file(outputs))
        context.say(f"the local listener is stopped; the texts it stored stay in {outputs['stateDir']}.")

    def _restart(self, context: Context, news: State) -> State:
        folder = _folder(news)
        _make(folder)
        pid_file = _pid_file(news)
        before = _kept(folder)
        running = listener_process.holder(pid_file) is not None
        port = _port(news, before, running=running)
        if running:
            listener_process.stop(pid_file)
        port, pid = _start(folder, news, port, before.get("apiToken") or secrets.token_urlsafe(24))
        context.say(f"the local listener runs as process {pid} on port {port}. It is for development only.")
        return {
            **news,
            "port": port,
            "portGiven": news.get("port") is not None,
            "url": f"http://{HOST}:{port}",
            "pid": pid,
            "running": True,
            "revision": context.timestamp(),
        }


def _start(folder: Path, news: State, port: int, api_token: str) -> tuple[int, int]:
    """Start it; on another port when another program was quicker to take one that we chose. Returns port and pid."""
    command = ["-m", "thingspace_provider.cli", "listener", "--json"]
    command += ["--settings", str(folder / "settings.json"), "--pid-file", str(folder / PID_FILE)]
    for left in reversed(range(STARTS)):
        _write(folder, news, port, api_token)
        try:
            return port, listener_process.start(command, folder / PID_FILE, folder / "listener.log")
        except listener_process.NotStarted as reason:
            if not left or news.get("port") is not None or TAKEN not in str(reason):
                raise ListenerNotStarted(
                    "starting the local listener",
                    answer=str(reason),
                    remedy=f"More may be in {news['stateDir']}/listener.log. It needs the extra: pip install "
                    "'thingspace-provider[listener]'.",
                ) from None
        port = _port(news, {}, running=False)
    raise AssertionError  # the last start returns or raises


def _port_problems(checked: State) -> list[Failure]:
    port = checked["port"]
    if isinstance(port, float) and port.is_integer():
        port = checked["port"] = int(port)
    if not validation.is_accepted_port(port):
        return [
            Failure("port", f"{port} is refused by ThingSpace for callbacks; it accepts {validation.PORTS_IN_WORDS}")
        ]
    return []


def _port(news: State, before: State, *, running: bool) -> int:
    """The port asked for if it is free, else the one used before, else the first free one."""
    ours = before.get("port") if running else None  # is about to be free
    asked = news.get("port")
    if asked is not None:
        if int(asked) != ours and not listener_process.is_free(HOST, int(asked)):
            raise ListenerNotStarted(
                "starting the local listener",
                answer=f"port {int(asked)} on {HOST} is already in use by another program",
                remedy="End that program, or choose another port, or leave port out to have a free one chosen.",
            )
        return int(asked)
    for port in dict.fromkeys([before.get("port"), *CHOICE]):
        if isinstance(port, int) and (port == ours or listener_process.is_free(HOST, port)):
            return port
    raise ListenerNotStarted(
        "starting the local listener",
        answer="none of the ports that ThingSpace accepts is free on this machine",
        remedy="End the programs that use them (28200-28220, 50551-50559, 9001-9006).",
    )


def _folder(state: State) -> Path:
    """Where settings, log and store lie; a relative folder is in the program's."""
    return Path(state["stateDir"]).absolute()


def _make(folder: Path) -> None:
    """Make it, unless it is there, and see that it can be written to."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as reason:  # the latter for a null byte
        raise ListenerNotStarted(
            "starting the local listener",
            answer=f"its folder {folder} cannot be used: {getattr(reason, 'strerror', reason)}",
            remedy="Make it a folder that you may write to, or name another with state_dir or THINGSPACE_STATE_DIR.",
        ) from None


def _pid_file(state: State) -> Path:
    return _folder(state) / PID_FILE


def _kept(folder: Path) -> State:
    """The settings of the last start, or nothing."""
    try:
        kept = json.loads((folder / "settings.json").read_text())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _write(folder: Path, news: State, port: int, api_token: str) -> None:
    """Write the listener's settings, readable by this user alone."""
    settings = {
        "accounts": news["accountNames"],
        "username": news.get("username") or "",
        "password": news.get("password") or "",
        "previousPassword": news.get("previousPasswords") or news.get("previousPassword") or "",
        "pathToken": news.get("pathToken") or "",
        "apiToken": api_token,
        "store": f"sqlite:///{folder / 'inbox.sqlite3'}",
        "host": HOST,
        "port": port,
    }
    scratch = folder / "settings.json.new"
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123  the mode must be there before the content
        json.dump(settings, file, indent=2)
    scratch.replace(folder / "settings.json")
