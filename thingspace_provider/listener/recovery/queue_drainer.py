"""Queue drainer: the only module of the listener that calls ThingSpace.

In mode `startCallbacks`, ThingSpace posts the queued messages to the callback URL. In mode `history`, the drainer reads
history pages and stores each one before it sends the token that acknowledges it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from thingspace_provider.api import Credentials, HistoryPage, ThingSpaceClient, errors
from thingspace_provider.api.login_guard import LoginGuard, LoginRecord, password_hash, user_hash, value_hash
from thingspace_provider.listener import callback_parser
from thingspace_provider.listener.model import IncomingCallback
from thingspace_provider.listener.recovery.settings import HISTORY, OFF, RecoverySettings
from thingspace_provider.listener.setting_types import InvalidSettings
from thingspace_provider.listener.store.base import Coordination, StoreError

ThingSpaceError = errors.ThingSpaceError
CREDENTIAL_ERRORS = (errors.LoginRejected, errors.LoginBlocked, errors.ApplicationKeyRejected)


def resolve_credentials(settings: RecoverySettings) -> Credentials | None:
    """Return the credentials, None if recovery is off. Raises InvalidSettings."""
    if settings.recovery_mode == OFF:
        return None
    try:
        return Credentials(**{name: value for name, value in settings.thingspace_credentials if value})
    except errors.InvalidSetting as error:
        raise InvalidSettings([f"thingspaceCredentials (settings file or environment): {error}"]) from None


class QueueDrainer:
    """Drains the queues of accounts as one ThingSpace user. Used by one thread.

    Args:
        credentials: credentials of the user.
        coordination: where replicas record rejected logins.
        check_allowed: raises an exception if no call is allowed now.
        store_durably: returns when the callbacks are stored; raises an exception only at the end of the process.
    """

    def __init__(
        self,
        credentials: Credentials,
        coordination: Coordination,
        check_allowed: Callable[[], None],
        store_durably: Callable[[Sequence[IncomingCallback]], None],
    ) -> None:
        self._client = ThingSpaceClient(credentials, login_guard=ReplicatedLoginGuard(coordination))
        self._check_allowed = check_allowed
        self._store_durably = store_durably
        self._last_stored_pages: dict[str, tuple[bytes, str | None]] = {}

    def drain(self, account: str, mode: str) -> int:
        """Drain the queue of an account. Return the number of messages that were read from history pages.

        Raises ThingSpaceError, and the exceptions of `check_allowed` and `store_durably`.
        """
        if mode == HISTORY:
            return self._read_history(account)
        self._check_allowed()
        self._client.start_callbacks(account)
        return 0

    def _read_history(self, account: str) -> int:
        """Read and store all history pages.

        ThingSpace does not document how the last page is acknowledged: by its token, when it is read, or never. So the
        queue is read once more after a page without a token. If it starts with the page that was stored last, that page
        is not stored again. An equal page after a token is stored, because its messages can be others with the same
        content, and the next token would remove them. Then the run ends, so that it cannot loop.
        """
        message_count, page_token = 0, None
        seen_digests: set[bytes] = set()
        while True:
            self._check_allowed()
            page = self._client.read_history(account, page_token)
            if not page.messages:
                return message_count
            digest = _page_digest(page)
            is_known = page_token is None and self._last_stored_pages.get(account) in {
                (digest, page.next_token),
                (digest, None),
            }
            if not is_known:
                self._store_durably([_to_incoming(account, message) for message in page.messages])
                self._last_stored_pages[account] = (digest, page.next_token)
                message_count += len(page.messages)
            if digest in seen_digests and page.has_more:
                raise errors.UnexpectedResponse(
                    "reading queued messages", account, "ThingSpace sent the same history page again, and more follow"
                )
            if digest in seen_digests or (is_known and page.next_token is None):
                return message_count
            seen_digests.add(digest)
            page_token = page.next_token


def _to_incoming(account: str, message: dict[str, Any]) -> IncomingCallback:
    return IncomingCallback(account, time.time_ns() // 1000, callback_parser.parse_history_message(message))


class ReplicatedLoginGuard(LoginGuard):
    """Login guard whose records all replicas on a store share."""

    def __init__(self, coordination: Coordination) -> None:
        super().__init__()
        self._coordination = coordination

    def find_rejected(self, credentials: Credentials) -> LoginRecord | None:
        """Return the record if ThingSpace rejected these credentials here or at a replica, else None."""
        known = super().find_rejected(credentials)
        if known is None and self._coordination.get_value(_rejection_key(credentials)):
            return LoginRecord(failed_logins=1)
        return known

    def is_override_used(self, credentials: Credentials, value: str) -> bool:
        """Return whether this value permitted a login here or at a replica. Raises StoreError."""
        return super().is_override_used(credentials, value) or bool(
            self._coordination.get_value(_override_key(credentials, value))
        )

    def mark_override_used(self, credentials: Credentials, value: str) -> bool:
        """Record a value of the override as used, for all replicas. Raises StoreError."""
        self._coordination.set_value(_override_key(credentials, value), 1)
        super().mark_override_used(credentials, value)  # fails where a container has no writable directory
        return True

    def record_failure(self, credentials: Credentials) -> LoginRecord:
        """Record a failed login here, and for the replicas if the store works."""
        with contextlib.suppress(StoreError):
            self._coordination.set_value(_rejection_key(credentials), 1)
        return super().record_failure(credentials)

    def clear(self, credentials: Credentials) -> None:
        """Remove the records after a successful login."""
        super().clear(credentials)
        with contextlib.suppress(StoreError):
            if self._coordination.get_value(_rejection_key(credentials)):
                self._coordination.set_value(_rejection_key(credentials), 0)


def _rejection_key(credentials: Credentials) -> str:
    return f"rejected_login {password_hash(credentials)}"


def _override_key(credentials: Credentials, value: str) -> str:
    return f"login_override {user_hash(credentials)} {value_hash(value)}"


def _page_digest(page: HistoryPage) -> bytes:
    return hashlib.sha256(json.dumps(page.messages, sort_keys=True).encode()).digest()
