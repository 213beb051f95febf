"""ListenerHost: the interface between SmsCallbacks and a listener host."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import pulumi


@runtime_checkable
class ListenerHost(Protocol):
    """A listener host, for example LocalListener or ExternalListener."""

    @property
    def revision(self) -> pulumi.Input[str]:
        """Changes with each deployment of the listener, so that queued messages are sent afterwards."""

    @property
    def readiness(self) -> bool:
        """Whether its URL can pass a readiness probe."""

    def url_for(self, account_name: pulumi.Input[str]) -> pulumi.Output[str]:
        """Return the callback URL of an account."""
