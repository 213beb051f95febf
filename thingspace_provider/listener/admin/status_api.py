"""Status API, `GET /v1/status`: health, sinks and queue recovery at a glance. Requires the bearer token.

The response is that of `/readyz` with two lists:

- `sinks`: `name`, `circuitBreaker`, `lastError`, `pending`, `oldestPendingAt` and `deadLetters` of each. The circuit
  breaker is `closed`, `open` or `half_open`, and null if this listener does not have the sink.
- `accounts`: `account`, `lastCompletedAt`, `lastFailedAt`, `lastError` and `nextRunAt` of queue recovery. The list is
  empty while it is off.

Both are null while the store cannot be read.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from thingspace_provider.listener.admin.health import Health
from thingspace_provider.listener.admin.messages_api import MessagesApi
from thingspace_provider.listener.forwarding.service import ForwardingService
from thingspace_provider.listener.message_json import format_optional
from thingspace_provider.listener.recovery.queue_recovery import QueueRecovery
from thingspace_provider.listener.store.base import Outbox, StoreError


class StatusApi:
    """Status of the listener. Uses the threads and the token of MessagesApi."""

    def __init__(
        self,
        messages_api: MessagesApi,
        outbox: Outbox,
        forwarding_service: ForwardingService,
        queue_recovery: QueueRecovery,
        health: Health,
    ) -> None:
        self._messages_api, self._outbox, self._health = messages_api, outbox, health
        self._forwarding_service, self._queue_recovery = forwarding_service, queue_recovery

    async def show_status(self, request: Request) -> Response:
        """Respond with the status, or with 401 (invalid token)."""
        health = await self._health.check()
        breakers = self._forwarding_service.breaker_states()
        return await self._messages_api.respond(request, lambda: self._build(health, breakers))

    def _build(self, health: dict[str, str], breakers: dict[str, tuple[str, str | None]]) -> bytes:
        status: dict[str, Any] = {**health, "sinks": None, "accounts": None}
        with contextlib.suppress(StoreError):
            status |= {"sinks": self._build_sinks(breakers), "accounts": self._build_accounts()}
        return json.dumps(status, ensure_ascii=False).encode()

    def _build_sinks(self, breakers: dict[str, tuple[str, str | None]]) -> list[dict[str, Any]]:
        sinks = []
        for backlog in self._outbox.backlogs():
            state, error = breakers.get(backlog.sink, (None, None))
            oldest = format_optional(backlog.oldest_received_at)
            sinks.append(
                {"name": backlog.sink, "circuitBreaker": state, "lastError": error, "pending": backlog.pending}
                | {"oldestPendingAt": oldest, "deadLetters": backlog.dead_letters}
            )
        return sinks

    def _build_accounts(self) -> list[dict[str, Any]]:
        return [
            {
                "account": account.account,
                "lastCompletedAt": format_optional(account.completed_at),
                "lastFailedAt": format_optional(account.failed_at),
                "lastError": account.error,
                "nextRunAt": format_optional(account.next_run_at),
            }
            for account in self._queue_recovery.accounts()
        ]
