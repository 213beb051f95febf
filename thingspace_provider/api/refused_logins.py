"""A record of refused logins that outlives the process, so that a pipeline cannot lock a ThingSpace user.

ThingSpace locks a user after five wrong logins in a row, and only Verizon support unlocks. So a password that was
refused once is not tried again: not by the update that follows, not by another process, not by tomorrow's run. One
small file per user of ThingSpace, in the folder of this user of the machine, holds slow hashes of what was refused
and never a credential. Another password is tried; a login that succeeds removes the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from thingspace_provider.api.credentials import Credentials

LOCKS_AT = 5  # wrong logins in a row
OVERRIDE = "THINGSPACE_RETRY_REFUSED_LOGIN"
WAIT_SECONDS = 60.0  # for another process that is logging in the same user
POLL_SECONDS = 0.05


def state_folder() -> Path:
    """Where records lie: `thingspace-provider/refused-logins` in XDG_STATE_HOME, by default `~/.local/state`."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "thingspace-provider" / "refused-logins"


@dataclass(frozen=True)
class Record:
    """What is known of one user: hashes of refused passwords, and how many wrong logins there were in a row."""

    refused: tuple[str, ...] = ()
    strikes: int = 0

    @property
    def left(self) -> int:
        """Wrong logins that are likely left before the user is locked; others may have used some."""
        return max(LOCKS_AT - self.strikes, 0)


class RefusedLogins:
    """The records of this machine's user. Where they cannot be written, it remembers nothing."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or state_folder()

    @contextlib.contextmanager
    def alone(self, credentials: Credentials, seconds: float = WAIT_SECONDS) -> Iterator[None]:
        """Hold the user's lock, so that processes side by side do not all try the same wrong password."""
        with contextlib.ExitStack() as held:
            with contextlib.suppress(OSError, ImportError):
                import fcntl  # noqa: PLC0415  not on Windows, where processes are not kept apart

                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock = held.enter_context(self.file(credentials).with_suffix(".lock").open("w"))
                end = time.monotonic() + min(seconds, WAIT_SECONDS)
                while True:
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    except BlockingIOError:
                        if time.monotonic() > end:
                            break  # its own login has a deadline; whoever holds this for longer has stopped
                        time.sleep(POLL_SECONDS)
            yield

    def known(self, credentials: Credentials) -> Record | None:
        """The record, when exactly these credentials were refused before and no override is set."""
        record = self.record(credentials)
        if os.environ.get(OVERRIDE) or fingerprint(credentials) not in record.refused:
            return None
        return record

    def add(self, credentials: Credentials) -> Record:
        """Remember one more refused login."""
        before = self.record(credentials)
        latest = fingerprint(credentials)
        refused = (*(known for known in before.refused if known != latest), latest)
        record = Record(refused[-LOCKS_AT:], before.strikes + 1)
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            scratch = self.file(credentials).with_suffix(f".{os.getpid()}")
            scratch.write_text(json.dumps({"refused": record.refused, "strikes": record.strikes}))
            scratch.replace(self.file(credentials))
        return record

    def forget(self, credentials: Credentials) -> None:
        """A login succeeded: the count in ThingSpace starts anew, and nobody needs to wait for the lock."""
        for file in (self.file(credentials), self.file(credentials).with_suffix(".lock")):
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)

    def record(self, credentials: Credentials) -> Record:
        """All that is remembered of this user."""
        try:
            document = json.loads(self.file(credentials).read_text())
            return Record(tuple(map(str, document["refused"])), int(document["strikes"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Record()

    def file(self, credentials: Credentials) -> Path:
        """Where the record of this user lies, when there is one."""
        user = f"{credentials.base_url}\n{credentials.username}".encode()
        return self._folder / f"{hashlib.sha256(user).hexdigest()[:32]}.json"


def fingerprint(credentials: Credentials) -> str:
    """A hash that takes so long that a password cannot be found by trying."""
    user = f"{credentials.base_url}\n{credentials.username}".encode()
    return hashlib.scrypt(credentials.password.encode(), salt=user, n=2**14, r=8, p=1, dklen=16).hex()
