"""Device messages of one account are sent to a listener on this machine."""

import pulumi

from thingspace_provider import CallbackCredential, LocalListener, SmsCallbacks

accounts = ["0000123456-00001"]
credential = CallbackCredential("credential")
listener = LocalListener("listener", account_names=accounts, credential=credential)
sms = SmsCallbacks("sms", account_names=accounts, listener=listener, credential=credential)

pulumi.export("activated", {account: activation.last_activated_at for account, activation in sms.activations.items()})
