"""Device texts of this stack's accounts flow to its listener.

listener deployed -> proven reachable -> registered with ThingSpace -> callbacks started, queue drained
"""

import pulumi

from thingspace_provider.config.stack_settings import StackSettings
from thingspace_provider.resources import CallbackCredential, SmsCallbacks

# What differs between environments stands in stacks/Pulumi.<stack>.yaml.
settings = StackSettings.load()

# What ThingSpace sends back with every text, so that the listener knows it: generated, kept as a secret.
credential = CallbackCredential("credential", rotation=settings.rotation)

# Where the texts go: a process on this machine (dev), or a URL that already exists.
listener = settings.listener.deploy("listener", settings.accounts, credential)

# For each account: register the listener, then have the queued texts sent.
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

pulumi.export("registered", {name: it.endpoint for name, it in callbacks.registrations.items()})
pulumi.export("activated", {name: it.last_activated_at for name, it in callbacks.activations.items()})
# What a listener that runs elsewhere has to be given: pulumi stack output listenerCredential --show-secrets
pulumi.export("listenerCredential", credential.listener_settings)
