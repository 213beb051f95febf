"""CallbackRegistration: the URL that ThingSpace posts an account's callbacks to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi

from thingspace_provider.providers import CallbackRegistrationProvider
from thingspace_provider.resources.base import Resource, as_secret


class CallbackRegistration(Resource, name="CallbackRegistration"):
    """Callback registration of one service of one account: the URL that ThingSpace posts its callbacks to.

    ThingSpace keeps one registration for each account and service. One with another URL is a conflict, unless `adopt`
    permits to replace it.

    Args:
        name: Pulumi resource name.
        account_name: ThingSpace account, for example "0000123456-00001".
        url: callback URL with http or https, on a port that ThingSpace accepts.
        service_name: ThingSpace service; the default, EnhancedConnectivityService, sends device messages.
        username: sent with every callback, at most 40 characters.
        password: sent with every callback, at most 40 characters. Always a secret.
        adopt: whether a registration with another URL may be replaced.
        readiness: whether the listener must pass a readiness probe with this credential first; the default is True.
        profile: the ThingSpace user; None is the default user.
        opts: Pulumi resource options.

    Example:
        import pulumi
        from thingspace_provider import CallbackCredential, CallbackRegistration

        account = "0000123456-00001"
        credential = CallbackCredential("credential")
        path = credential.path_token.apply(lambda token: f"/callbacks/{token}/{account}")
        registration = CallbackRegistration(
            "registration",
            account_name=account,
            url=pulumi.Output.concat("https://sms.example.com", path),
            username=credential.username,
            password=credential.password,
        )

    Operations:
        preview: shows the changed inputs; `drift` names those that a refresh found changed. No call; no credentials
            are needed.
        create: probes the listener, lists the registrations of the account, then registers. Registers nothing if the
            same registration exists.
        update: does the same. If ThingSpace rejects the new registration with 400, deregisters the old one first.
        replace: registers for the new account or service, then deregisters the old one.
        refresh: lists the registrations. Records a changed URL, user name or password as drift, which the next
            `pulumi up` repairs. A missing registration is created again.
        delete: deregisters, unless the registration is gone, has a URL of another program, or is at another base URL.
        import: not supported by Pulumi. To take over an existing registration, set `adopt=True` for one `pulumi up`.
            With `ResourceOptions(id="account/service")` the resource is read and not managed.

    Errors:
        `callbacks already go to`: another program registered that URL. Set `adopt=True` to replace it, or run
            `pulumi refresh` first if it was changed outside of Pulumi.
        `probing the listener`: the listener did not pass the readiness probe, and nothing was registered.
            docs/readiness-probe.md lists the steps and their causes.
        `ThingSpace responded with`: follow the hint, for example correct the account name, or set `profile`.
        `ThingSpace rejects port`: use one of the ports that the error lists.
        `ThingSpace sends no HTTP authentication`: move user name and password from the URL to the inputs.
        `it cannot be registered`: leave out `service_name`.
        `ThingSpace accepts at most`: shorten the user name or the password.
        `the credentials are incomplete`: export the variables that the error names, or set the keys of the stack.
        `login blocked`: correct the credentials; after Verizon has unlocked the user, set `THINGSPACE_LOGIN_OVERRIDE`.
    """

    if TYPE_CHECKING:
        account_name: pulumi.Output[str]
        url: pulumi.Output[str]
        endpoint: pulumi.Output[str]
        """The URL without its secret parts."""
        registered_at: pulumi.Output[str]
        """Time of the last create or update, ISO 8601 in UTC."""
        url_fingerprint: pulumi.Output[str]
        """Digest of the URL that this resource wrote."""

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
