"""Device messages are sent to a listener on Kubernetes, which stores them in SQLite on a volume or in PostgreSQL."""

import pulumi

from thingspace_provider import CallbackCredential, IngressRoute, KubernetesListener, SmsCallbacks, SqliteVolume

config = pulumi.Config()
accounts = config.require_object("accounts")
credential = CallbackCredential("credential")
listener = KubernetesListener(
    "listener",
    image=config.require("image"),
    host=config.require("host"),
    account_names=accounts,
    credential=credential,
    store=config.get_secret("store") or SqliteVolume(),
    namespace=config.require("namespace"),
    ingress=IngressRoute(class_name=config.get("ingressClass"), tls_secret=config.get("tlsSecret")),
)
sms = SmsCallbacks("sms", account_names=accounts, listener=listener, credential=credential)

pulumi.export("activated", {account: activation.last_activated_at for account, activation in sms.activations.items()})
