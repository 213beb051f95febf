"""CallbackRegistration: the URL that ThingSpace posts an account's callbacks to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi

from thingspace_provider.providers import CallbackRegistrationProvider
from thingspace_provider.resources.base import Resource, as_secret


class CallbackRegistration(Resource, name="CallbackRegistration"):
    """One service's callback listener of one account, kept as the program says.

    A refresh shows what was changed outside of Pulumi, and the next update repairs it. A registration that was
    there before and points elsewhere is an error, unless it is adopted.

    Args:
        name: the resource's name in the program.
        account_name: ThingSpace account, as "0000123456-00001". Another one replaces the resource.
        url: where ThingSpace posts; http or https, on a port that ThingSpace accepts.
        service_name: which callbacks; EnhancedConnectivityService, the default, carries device texts.
        username: sent back inside every callback, at most 40 characters.
        password: likewise; always a secret.
        adopt: whether a registration that points elsewhere may be replaced.
        readiness: whether the URL has to prove first that our listener answers there with this credential.
        profile: which ThingSpace user calls; None is the default one.
        opts: Pulumi's options.
    """

    if TYPE_CHECKING:
        account_name: pulumi.Output[str]
        url: pulumi.Output[str]
        endpoint: pulumi.Output[str]
        """The URL as it may be shown: without a token in its path."""
        registered_at: pulumi.Output[str]
        """When this last made sure of the registration, ISO 8601 in UTC: new after each create and update."""

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
            secret_outputs=["password"],
        )
