"""Program of the tests: one KubernetesListener for some accounts, with the options in options.json."""

import json
from pathlib import Path

from thingspace_provider import CallbackCredential, IngressRoute, KubernetesListener, SmsCallbacks, SqliteVolume

options = json.loads(Path("options.json").read_text(encoding="utf-8"))
accounts = options["accounts"]
credential = CallbackCredential("credential", rotation=options["rotation"])
listener = KubernetesListener(
    "listener",
    image=options["image"],
    host=options["host"],
    account_names=accounts,
    credential=credential,
    store=options["store"] or SqliteVolume(storage_class="manual"),
    replicas=options["replicas"],
    namespace=options["namespace"],
    ingress=IngressRoute(class_name=options["ingress_class"], tls_secret=options["tls_secret"]),
    settings=options["settings"],
    rollout_timeout_seconds=options["rollout_timeout_seconds"],
    pre_stop_seconds=2,
)
SmsCallbacks(
    "sms", account_names=accounts, listener=listener, credential=credential, triggers=options["triggers"], adopt=True
)
