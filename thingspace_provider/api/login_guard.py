"""A record of refused logins that outlives the process, so that a pipeline cannot lock a ThingSpace user.

ThingSpace locks a user after five wrong logins in a row, and only Verizon support unlocks. So a password that was
refused once is not tried again: not by the update that follows, not by another process, not by tomorrow's run. One
small file per user of ThingSpace, in the folder of this user of the machine, holds slow hashes of what was refused
and never a credential. Another password is tried; a login that succeeds removes the file.

A person who had the user unlocked sets THINGSPACE_RETRY_REFUSED_LOGIN. Each of its values allows one login, because
one that is left set in a pipeline, or shared by processes side by side, would lock the user again.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from thingspace_provider.api.credentials import Credentials

LOCKOUT_THRESHOLD = 5  # wrong logins in a row
OVERRIDE_VARIABLE = "THINGSPACE_RETRY_REFUSED_LOGIN"
POLL_SECONDS = 0.05


def state_directory() -> Path:
    """Where records lie: `thingspace-provider/refused-logins` in XDG_STATE_HOME, by default `~/.local/state`."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "thingspace-provider" / "refused-logins"


@dataclass(frozen=True)
class LoginRecord:
    """What is known of one user.

    Args:
        refused: hashes of refused passwords.
        strikes: how many wrong logins there were in a row.
        spent: hashes of values of the override, each of which allowed one more login.
    """

    rejected_hashes: tuple[str, ...] = ()
    failed_logins: int = 0
    used_overrides: tuple[str, ...] = ()

    @property
    def remaining(self) -> int:
        """Wrong logins that are likely left before the user is locked; others may have used some."""
        return max(LOCKOUT_THRESHOLD - self.failed_logins, 0)


class LoginGuard:
    """The records of this machine's user. Where they cannot be written, it remembers nothing."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or state_directory()

    @contextlib.contextmanager
    def lock(self, credentials: Credentials, seconds: float) -> Iterator[bool]:
        """Hold the user's lock, so that processes side by side do not all try the same wrong password.

        False when another process held it all those seconds: it still logs in. The lock's file stays for ever,
        because who removed it would leave the next one alone with those that wait for it.
        """
        with contextlib.ExitStack() as stack:
            acquired = True
            with contextlib.suppress(OSError, ImportError):
                import fcntl  # noqa: PLC0415  not on Windows, where processes are not kept apart

                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock_file = stack.enter_context(self.file(credentials).with_suffix(".lock").open("w"))
                acquired = _wait_for_lock(lambda: fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB), seconds)
            yield acquired

    def find_rejected(self, credentials: Credentials) -> LoginRecord | None:
        """The record, when exactly these credentials were refused before."""
        record = self.record(credentials)
        return record if password_hash(credentials) in record.rejected_hashes else None

    def may_override(self, credentials: Credentials) -> bool:
        """Whether the override has a value that allows one more login of this user."""
        value = os.environ.get(OVERRIDE_VARIABLE, "")
        return bool(value) and not self.is_override_used(credentials, value)

    def is_override_used(self, credentials: Credentials, value: str) -> bool:
        """Whether this value of the override allowed a login before."""
        return value_hash(value) in self.record(credentials).used_overrides

    def use_override(self, credentials: Credentials) -> bool:
        """Whether the override allows one more login. Its value then allows no other, and is noted before this one."""
        return self.may_override(credentials) and self.mark_override_used(credentials, os.environ[OVERRIDE_VARIABLE])

    def mark_override_used(self, credentials: Credentials, value: str) -> bool:
        """Note that a value of the override is used; False when it cannot be noted, for then it would be used again."""
        before = self.record(credentials)
        return self._write(credentials, replace(before, used_overrides=(*before.used_overrides, value_hash(value))))

    def override_hint(self, credentials: Credentials) -> str:
        """How one more login is allowed, in a sentence."""
        value = next(value for value in map(str, itertools.count(1)) if not self.is_override_used(credentials, value))
        used = " (its present value was used for one already)" if os.environ.get(OVERRIDE_VARIABLE) else ""
        setting = f"{OVERRIDE_VARIABLE}={value}{used}"
        return f"If the user was unlocked and the password is right, allow one more try with {setting}."

    def record_failure(self, credentials: Credentials) -> LoginRecord:
        """Remember one more refused login."""
        before = self.record(credentials)
        current_hash = password_hash(credentials)
        rejected_hashes = (
            *(previous_hash for previous_hash in before.rejected_hashes if previous_hash != current_hash),
            current_hash,
        )
        record = replace(
            before, rejected_hashes=rejected_hashes[-LOCKOUT_THRESHOLD:], failed_logins=before.failed_logins + 1
        )
        self._write(credentials, record)
        return record

    def clear(self, credentials: Credentials) -> None:
        """A login succeeded: the count in ThingSpace starts anew."""
        with contextlib.suppress(OSError):
            self.file(credentials).unlink(missing_ok=True)

    def record(self, credentials: Credentials) -> LoginRecord:
        """All that is remembered of this user."""
        try:
            document = json.loads(self.file(credentials).read_text())
            used_overrides = document.get("used_overrides", [])  # which earlier versions did not write
            return LoginRecord(
                tuple(map(str, document["rejected_hashes"])),
                int(document["failed_logins"]),
                tuple(map(str, used_overrides)),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return LoginRecord()

    def file(self, credentials: Credentials) -> Path:
        """Where the record of this user lies, when there is one."""
        return self._directory / f"{user_hash(credentials)}.json"

    def _write(self, credentials: Credentials, record: LoginRecord) -> bool:
        """Whether it could be written."""
        with contextlib.suppress(OSError):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            scratch = self.file(credentials).with_suffix(f".{os.getpid()}")
            scratch.write_text(json.dumps(asdict(record)))
            scratch.replace(self.file(credentials))
            return True
        return False


def password_hash(credentials: Credentials) -> str:
    """A hash that takes so long that a password cannot be found by trying."""
    user = _user(credentials)
    return hashlib.scrypt(credentials.password.encode(), salt=user, n=2**14, r=8, p=1, dklen=16).hex()


def user_hash(credentials: Credentials) -> str:
    """Names a user of one ThingSpace without telling who it is."""
    return hashlib.sha256(_user(credentials)).hexdigest()[:32]


def _user(credentials: Credentials) -> bytes:
    return f"{credentials.base_url}\n{credentials.username}".encode()


def value_hash(value: str) -> str:
    """Of a value of the override, which may be anything."""
    return hashlib.sha256(value.encode()).hexdigest()[:16]


def _wait_for_lock(lock: Callable[[], None], seconds: float) -> bool:
    """Whether it could be locked in time."""
    deadline = time.monotonic() + seconds
    while not _try_lock(lock):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _try_lock(lock: Callable[[], None]) -> bool:
    try:
        lock()
    except BlockingIOError:
        return False
    return True
