"""Login guard: blocks logins with credentials that ThingSpace has rejected, across processes.

ThingSpace locks a user after five failed logins in a row, and only Verizon support can unlock it. So a rejected
password is never sent again: not by the next update, not by another process, not by a later run. Each ThingSpace user
has one small file in the home directory of the machine's user. The file holds slow hashes of rejected passwords and
never a credential. Another password is sent; a successful login removes the file.

After an unlock, THINGSPACE_LOGIN_OVERRIDE permits a login. Each of its values permits one, because a value that stays
set in a pipeline, or that several processes share, would lock the user again.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from thingspace_provider.api.credentials import Credentials
from thingspace_provider.common.file_lock import FileLock

LOCKOUT_THRESHOLD = 5  # failed logins in a row
OVERRIDE_VARIABLE = "THINGSPACE_LOGIN_OVERRIDE"


def state_directory() -> Path:
    """Return the directory of the records: `thingspace-provider/rejected-logins` in XDG_STATE_HOME (~/.local/state)."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "thingspace-provider" / "rejected-logins"


@dataclass(frozen=True)
class LoginRecord:
    """Record of one ThingSpace user.

    Args:
        rejected_hashes: hashes of rejected passwords.
        failed_logins: number of failed logins in a row from this machine.
        used_overrides: hashes of used values of the login override.
    """

    rejected_hashes: tuple[str, ...] = ()
    failed_logins: int = 0
    used_overrides: tuple[str, ...] = ()

    @property
    def remaining(self) -> int:
        """Return the failed logins left before the lockout; fewer if other machines failed too."""
        return max(LOCKOUT_THRESHOLD - self.failed_logins, 0)


class LoginGuard:
    """Records of rejected logins of this machine's user. Without a writable directory, it records nothing.

    Args:
        directory: where the records are; by default `state_directory()`.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or state_directory()

    @contextlib.contextmanager
    def lock(self, credentials: Credentials, seconds: float) -> Iterator[bool]:
        """Hold the lock of a ThingSpace user, so that parallel processes do not all send the same wrong password.

        Yields False if another process holds the lock until the timeout, because it is still logging in.
        """
        with contextlib.ExitStack() as stack:
            acquired = True
            with contextlib.suppress(OSError):
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                file_lock = FileLock(self.file(credentials).with_suffix(".lock"))
                stack.callback(file_lock.release)
                acquired = file_lock.acquire(seconds)
            yield acquired

    def find_rejected(self, credentials: Credentials) -> LoginRecord | None:
        """Return the record if ThingSpace rejected exactly these credentials, else None."""
        record = self.record(credentials)
        return record if password_hash(credentials) in record.rejected_hashes else None

    def may_override(self, credentials: Credentials) -> bool:
        """Return whether the override has an unused value for this user."""
        value = os.environ.get(OVERRIDE_VARIABLE, "")
        return bool(value) and not self.is_override_used(credentials, value)

    def is_override_used(self, credentials: Credentials, value: str) -> bool:
        """Return whether this value of the override permitted a login before."""
        return value_hash(value) in self.record(credentials).used_overrides

    def use_override(self, credentials: Credentials) -> bool:
        """Return whether the override permits a login; its value is recorded as used before that login."""
        return self.may_override(credentials) and self.mark_override_used(credentials, os.environ[OVERRIDE_VARIABLE])

    def mark_override_used(self, credentials: Credentials, value: str) -> bool:
        """Record a value of the override as used. Return False if that fails, because it could then be used twice."""
        before = self.record(credentials)
        return self._write(credentials, replace(before, used_overrides=(*before.used_overrides, value_hash(value))))

    def override_hint(self, credentials: Credentials) -> str:
        """Return a hint with the next value of the override."""
        value = next(value for value in map(str, itertools.count(1)) if not self.is_override_used(credentials, value))
        used = " (its current value is used)" if os.environ.get(OVERRIDE_VARIABLE) else ""
        setting = f"{OVERRIDE_VARIABLE}={value}{used}"
        return f"If Verizon unlocked the user and the password is right, set {setting} to permit one login."

    def record_failure(self, credentials: Credentials) -> LoginRecord:
        """Record a failed login with these credentials, and return the new record."""
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
        """Remove the record after a successful login, which resets the count of ThingSpace too."""
        with contextlib.suppress(OSError):
            self.file(credentials).unlink(missing_ok=True)

    def record(self, credentials: Credentials) -> LoginRecord:
        """Return the record of this user, an empty one without a readable file."""
        try:
            document = json.loads(self.file(credentials).read_text())
            return LoginRecord(
                tuple(map(str, document["rejected_hashes"])),
                int(document["failed_logins"]),
                tuple(map(str, document["used_overrides"])),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return LoginRecord()

    def file(self, credentials: Credentials) -> Path:
        """Return the path of this user's record, whether or not it exists."""
        return self._directory / f"{user_hash(credentials)}.json"

    def _write(self, credentials: Credentials, record: LoginRecord) -> bool:
        """Replace the record atomically. Return whether that succeeded."""
        with contextlib.suppress(OSError):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            scratch = self.file(credentials).with_suffix(f".{os.getpid()}")
            scratch.write_text(json.dumps(asdict(record)))
            scratch.replace(self.file(credentials))
            return True
        return False


def password_hash(credentials: Credentials) -> str:
    """Return a hash that is too slow to find the password by trial."""
    user = _user(credentials)
    return hashlib.scrypt(credentials.password.encode(), salt=user, n=2**14, r=8, p=1, dklen=16).hex()


def user_hash(credentials: Credentials) -> str:
    """Return a name for the user of one ThingSpace that does not reveal the user name."""
    return hashlib.sha256(_user(credentials)).hexdigest()[:32]


def _user(credentials: Credentials) -> bytes:
    return f"{credentials.base_url}\n{credentials.username}".encode()


def value_hash(value: str) -> str:
    """Return a hash of a value of the override, which is any text."""
    return hashlib.sha256(value.encode()).hexdigest()[:16]
