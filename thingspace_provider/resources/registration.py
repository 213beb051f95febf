"""CallbackRegistration: the URL that ThingSpace posts an account's callbacks to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi

from thingspace_provider.providers import CallbackRegistrationProvider
from thingspace_provider.resources.base import Resource, as_secret


class CallbackRegistration(Resource, name="CallbackRegistration"):
    """Callback registration of one service of one account.

    A refresh detects drift, and the next update repairs it. An existing registration with another URL is an error,
    unless `adopt` permits to replace it.

    Args:
        name: Pulumi resource name.
        account_name: ThingSpace account, for example "0000123456-00001". A changed value replaces the resource.
        url: callback URL with http or https, on a port that ThingSpace accepts.
        service_name: ThingSpace service; the default, EnhancedConnectivityService, sends device messages.
        username: sent with every callback, at most 40 characters.
        password: sent with every callback, at most 40 characters. Always a secret.
        adopt: whether a registration with another URL may be replaced.
        readiness: whether the listener must pass a readiness probe with this credential first; the default is True.
        profile: the ThingSpace user; None is the default user.
        opts: Pulumi resource options.
    """

    if TYPE_CHECKING:
        account_name: pulumi.Output[str]
        url: pulumi.Output[str]
        endpoint: pulumi.Output[str]
        """The URL without its secret parts."""
        registered_at: pulumi.Output[str]
        """Time of the last create or update, ISO 8601 in UTC."""

    def __init__(
        self,
        name: str,
        *,
        account_name: pulumi.Input[str],
        url: pulumi.Input[str],
        service_name: pulumi.Input[str] | None = None,
        username: pulumi.Input[str] | None = None,
        password: pulumi.Input[str] | None = None,
        adopt: pulumi.Input[bool] | None = None,
        readiness: pulumi.Input[bool] | None = None,
        profile: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            CallbackRegistrationProvider(),
            name,
            {
                "account_name": account_name,
                "url": url,
                "service_name": service_name,
                "username": username,
                "password": as_secret(password),
                "adopt": adopt,
                "readiness": readiness,
                "profile": profile,
            },
            ["registered_at", "endpoint", "url_fingerprint"],
            opts,
            secret_outputs=["password", "url_fingerprint"],
        )
