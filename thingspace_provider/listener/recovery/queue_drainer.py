"""Asks ThingSpace for what it queued. This is the only module of the listener that speaks to ThingSpace.

There are two ways: `startCallbacks` has the texts pushed to the callback URL, `history`
fetches them, and stores every block before anything else is asked, above all before the token that removes it.
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

CREDENTIAL_ERRORS = (errors.LoginRejected, errors.LoginBlocked, errors.ApplicationKeyRejected)


class RecoveryError(Exception):
    """ThingSpace could not be asked, or not to the end; the text says why."""


class CredentialsRejected(Exception):
    """ThingSpace does not take the credentials: they must not be tried again."""


def resolve_credentials(settings: RecoverySettings) -> Credentials | None:
    """The user to ask as, None when healing is off. Raises BadSettings."""
    if settings.recovery_mode == OFF:
        return None
    try:
        return Credentials(**{name: value for name, value in settings.thingspace_credentials if value})
    except errors.InvalidSetting as error:
        raise InvalidSettings([f"thingspaceCredentials (settings file or environment): {error}"]) from None


class QueueDrainer:
    """The way back for queued texts, as one ThingSpace user; used by one thread.

    Args:
        user: whom ThingSpace knows.
        shared: where replicas see that a login was refused.
        permit: raises when nothing may be asked for now.
        keep: returns when arrivals are stored durably; it gives up only when the process ends.
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
        self._last_stored_pages: dict[str, tuple[bytes, str | None]] = {}  # which block was stored last

    def drain(self, account: str, mode: str) -> int:
        """Have the queue of an account emptied; how many texts that brought, as far as they came this way.

        Raises NotAsked, CredentialsRefused, and what `permit` and `keep` raise.
        """
        try:
            if mode == HISTORY:
                return self._read_history(account)
            self._check_allowed()
            self._client.start_callbacks(account)
        except CREDENTIAL_ERRORS as error:
            raise CredentialsRejected(str(error)) from error
        except errors.ThingSpaceError as error:
            raise RecoveryError(str(error)) from error
        return 0

    def _read_history(self, account: str) -> int:
        """Read to the end of the queue.

        How the last block is acknowledged is not documented: by its token, by itself, or never. So after a block
        without a token the queue is read once more. The block that was stored last is known when it comes again, and
        is not stored a second time. What follows a token is stored even when it looks the same: other texts may be
        equal, and the next token would remove them. Then it ends, lest it go round in circles.
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
                raise RecoveryError(
                    f"reading queued texts for account {account}: the same block came again, and more waits"
                )
            if digest in seen_digests or (is_known and page.next_token is None):
                return message_count
            seen_digests.add(digest)
            page_token = page.next_token


def _to_incoming(account: str, message: dict[str, Any]) -> IncomingCallback:
    return IncomingCallback(account, time.time_ns() // 1000, callback_parser.parse_history_message(message))


class ReplicatedLoginGuard(LoginGuard):
    """A record of refused logins that replicas on other machines see, too."""

    def __init__(self, coordination: Coordination) -> None:
        super().__init__()
        self._coordination = coordination

    def find_rejected(self, credentials: Credentials) -> LoginRecord | None:
        """The record, when these credentials were refused here or to a replica."""
        known = super().find_rejected(credentials)
        if known is None and self._coordination.get_value(_rejection_key(credentials)):
            return LoginRecord(failed_logins=1)
        return known

    def is_override_used(self, credentials: Credentials, value: str) -> bool:
        """Whether this value of the override allowed a login before, here or to a replica. Raises StoreFailed."""
        return super().is_override_used(credentials, value) or bool(
            self._coordination.get_value(_override_key(credentials, value))
        )

    def mark_override_used(self, credentials: Credentials, value: str) -> bool:
        """Note for all replicas, and for good, that a value of the override is used. Raises StoreFailed."""
        self._coordination.set_value(_override_key(credentials, value), 1)
        super().mark_override_used(credentials, value)  # which a container may be unable to write
        return True

    def record_failure(self, credentials: Credentials) -> LoginRecord:
        """Remember a refused login. That it cannot be noted for replicas is no reason to forget it here."""
        with contextlib.suppress(StoreError):
            self._coordination.set_value(_rejection_key(credentials), 1)
        return super().record_failure(credentials)

    def clear(self, credentials: Credentials) -> None:
        """A login succeeded."""
        super().clear(credentials)
        with contextlib.suppress(StoreError):
            if self._coordination.get_value(_rejection_key(credentials)):
                self._coordination.set_value(_rejection_key(credentials), 0)


def _rejection_key(credentials: Credentials) -> str:
    """Under which a refusal is noted."""
    return f"rejected_login {password_hash(credentials)}"


def _override_key(credentials: Credentials, value: str) -> str:
    """Under which it is noted that a value of the override was used for a user."""
    return f"login_override {user_hash(credentials)} {value_hash(value)}"


def _page_digest(page: HistoryPage) -> bytes:
    return hashlib.sha256(json.dumps(page.messages, sort_keys=True).encode()).digest()
