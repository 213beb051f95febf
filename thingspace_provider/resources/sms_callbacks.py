"""SmsCallbacks: a registration and an activation for each account, in this order."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from thingspace_provider.lifecycle.validation import TRIGGERS_REASON
from thingspace_provider.resources.activation import SmsCallbackActivation, Triggers
from thingspace_provider.resources.base import InvalidArgument, check_account_names, reject_import
from thingspace_provider.resources.credential import CallbackCredential
from thingspace_provider.resources.listener_host import ListenerHost
from thingspace_provider.resources.registration import CallbackRegistration


class SmsCallbacks(pulumi.ComponentResource):
    """Sends the device messages of some accounts to a listener, including queued messages.

    Each change of a registration or of the listener sends startCallbacks again for the account. ThingSpace queues
    messages in the meantime, and only this call drains the queue.

    Args:
        name: Pulumi component name.
        account_names: ThingSpace accounts, for example ["0000123456-00001"]. They cannot be outputs, because each
            account has resources of its own.
        listener: the listener host: LocalListener, KubernetesListener or ExternalListener.
        credential: what ThingSpace sends with every callback.
        triggers: list or dictionary of any values; a changed one sends startCallbacks again for all accounts.
        adopt: whether registrations with another URL may be replaced.
        profile: the ThingSpace user; None is the default user.
        opts: Pulumi resource options of the component.

    Raises:
        InvalidArgument: before any resource is created.

    Example:
        from thingspace_provider import CallbackCredential, LocalListener, SmsCallbacks

        accounts = ["0000123456-00001", "0000123456-00002"]
        credential = CallbackCredential("credential")
        listener = LocalListener("listener", account_names=accounts, credential=credential)
        sms = SmsCallbacks("sms", account_names=accounts, listener=listener, credential=credential)

    Operations:
        preview: shows the registrations and activations that change. No call; no credentials are needed.
        create: makes a CallbackRegistration and an SmsCallbackActivation for each account, in this order.
        update: registers what has changed. Sends startCallbacks again for each account whose registration was renewed,
            and for all accounts after a deployment of the listener or a changed trigger.
        replace: never happens. A new account is two more resources, a removed account two fewer.
        refresh: as CallbackRegistration.
        delete: deregisters all accounts. Messages then wait in ThingSpace's queue.
        import: not supported by Pulumi. To take over existing registrations, set `adopt=True` for one `pulumi up`.

    Errors:
        `must be known when the program runs, and cannot be an output`: read the accounts from the configuration.
        `more than once`: remove the repeated account.
        `listener must be a listener host`: pass a host, for example `ExternalListener(url=…)`.
        `the option import_ does not work`: set `adopt=True` instead.
        `callbacks already go to`: another program registered that URL. Set `adopt=True` to replace it.
    """

    registrations: dict[str, CallbackRegistration]
    """The registration of each account."""
    activations: dict[str, SmsCallbackActivation]
    """The activation of each account."""

    def __init__(
        self,
        name: str,
        *,
        account_names: Sequence[str],
        listener: ListenerHost,
        credential: CallbackCredential,
        triggers: pulumi.Input[Triggers] = (),
        adopt: pulumi.Input[bool] = False,
        profile: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        reject_import("SmsCallbacks", opts)
        if isinstance(account_names, pulumi.Output):
            reason = "must be known when the program runs, and cannot be an output: read it from the configuration"
            raise InvalidArgument(f"SmsCallbacks: account_names: {reason}")
        check_account_names("SmsCallbacks", account_names)
        if not isinstance(listener, ListenerHost):
            raise InvalidArgument(
                f"SmsCallbacks: listener must be a listener host such as LocalListener or ExternalListener(url=…), "
                f"not {type(listener).__name__}"
            )
        CallbackCredential.check("SmsCallbacks", credential)
        if isinstance(triggers, str):
            raise InvalidArgument(f"SmsCallbacks: triggers {TRIGGERS_REASON}")
        urls = {account: listener.url_for(account) for account in account_names}
        super().__init__("thingspace:index:SmsCallbacks", name, None, opts)
        child_opts = pulumi.ResourceOptions(parent=self)
        self.registrations = {}
        self.activations = {}
        for account, url in urls.items():
            registration = CallbackRegistration(
                f"{name}-{account}",
                account_name=account,
                url=url,
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
                triggers={
                    "registeredAt": registration.registered_at,
                    "revision": listener.revision,
                    "triggers": triggers,
                },
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
