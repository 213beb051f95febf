"""SmsCallbacks: for each account, a registration and an activation, in the right order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi

from thingspace_provider.resources.activation import SmsCallbackActivation
from thingspace_provider.resources.credential import CallbackCredential
from thingspace_provider.resources.listener_host import ListenerHost
from thingspace_provider.resources.registration import CallbackRegistration


class SmsCallbacks(pulumi.ComponentResource):
    """Device texts of some accounts flow to a listener: registered, then started, queued ones included.

    startCallbacks is sent again for an account whenever its registration or the listener was renewed, because
    texts that came meanwhile are in ThingSpace's queue, which nothing else drains.

    Args:
        name: the component's name in the program.
        account_names: ThingSpace accounts, as ["0000123456-00001"].
        listener: where the texts go: LocalListener or ExternalListener.
        credential: what ThingSpace sends back, so that the listener knows it.
        triggers: values of any kind; when one changes, startCallbacks is sent again for every account.
        adopt: whether registrations that point elsewhere may be replaced.
        profile: which ThingSpace user calls; None is the default one.
        opts: Pulumi's options; they hold for everything inside.
    """

    registrations: dict[str, CallbackRegistration]
    activations: dict[str, SmsCallbackActivation]

    def __init__(
        self,
        name: str,
        *,
        account_names: Sequence[str],
        listener: ListenerHost,
        credential: CallbackCredential,
        triggers: Sequence[pulumi.Input[Any]] = (),
        adopt: bool = False,
        profile: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("thingspace:index:SmsCallbacks", name, None, opts)
        child_opts = pulumi.ResourceOptions(parent=self)
        self.registrations = {}
        self.activations = {}
        for account in account_names:
            registration = CallbackRegistration(
                f"{name}-{account}",
                account_name=account,
                url=listener.url_for(account),
                username=credential.username,
                password=credential.password,
                adopt=adopt,
                readiness=listener.readiness,
                profile=profile,
                opts=child_opts,
            )
            self.registrations[account] = registration
            self.activations[account] = SmsCallbackActivation(
                f"{name}-{account}",
                account_name=account,
                triggers=[*triggers, registration.registered_at, listener.revision],
                registration_url=registration.endpoint,
                profile=profile,
                opts=child_opts,
            )
        self.register_outputs(
            {
                "lastActivatedAt": {
                    account: activation.last_activated_at for account, activation in self.activations.items()
                }
            }
        )
