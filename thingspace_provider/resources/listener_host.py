"""What the resources need to know of the place where a listener runs."""

from __future__ import annotations

from typing import Protocol

import pulumi


class ListenerHost(Protocol):
    """A listener, wherever it runs."""

    @property
    def revision(self) -> pulumi.Input[str]:
        """Changes when the listener was deployed anew, so that texts queued meanwhile are fetched."""

    @property
    def readiness(self) -> bool:
        """Whether its URL can prove that our listener answers there."""

    def url_for(self, account_name: pulumi.Input[str]) -> pulumi.Output[str]:
        """The callback URL of an account."""
