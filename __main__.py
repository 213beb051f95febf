"""Example program: the device messages of this stack's accounts are sent to a listener.

The listener is deployed, probed and registered with ThingSpace. Then startCallbacks sends the queued messages.
"""

import pulumi

from thingspace_provider import CallbackCredential, SmsCallbacks, StackSettings, create_listener_host

# The differences between environments, from stacks/Pulumi.<stack>.yaml.
settings = StackSettings.load()

# A generated user name and password. ThingSpace sends them with every callback.
credential = CallbackCredential("credential", rotation=settings.rotation)

# A process on this machine (dev), or pods on Kubernetes (staging, prod).
listener = create_listener_host("listener", settings.listener, settings.accounts, credential)

# For each account: register the listener, then send startCallbacks.
callbacks = SmsCallbacks(
    "sms",
    account_names=settings.accounts,
    listener=listener,
    credential=credential,
    triggers=settings.triggers,
    adopt=settings.adopt,
    profile=settings.profile,
    opts=pulumi.ResourceOptions(protect=settings.protect),
)

pulumi.export("registered", {account: resource.endpoint for account, resource in callbacks.registrations.items()})
pulumi.export("activated", {account: resource.last_activated_at for account, resource in callbacks.activations.items()})

# Settings for a listener of another deployment: `pulumi stack output listenerCredential --show-secrets`.
pulumi.export("listenerCredential", credential.listener_settings)
