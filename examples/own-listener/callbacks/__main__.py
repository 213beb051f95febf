"""Device messages are sent to a receiver of your own, whose URL another stack exports."""

import pulumi

from thingspace_provider import CallbackCredential, ExternalListener, SmsCallbacks

accounts = ["0000123456-00001"]
receiver = pulumi.StackReference(f"organization/own-receiver/{pulumi.get_stack()}")
credential = CallbackCredential("credential")
listener = ExternalListener(url=receiver.require_output("url"), credential=credential)
sms = SmsCallbacks("sms", account_names=accounts, listener=listener, credential=credential)

pulumi.export("credential", credential.listener_settings)
pulumi.export("activated", {account: activation.last_activated_at for account, activation in sms.activations.items()})
