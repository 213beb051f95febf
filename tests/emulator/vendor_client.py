"""Makes every call with the vendor's generated client library, at another base URL.

Run it as `vendor_client.py URL`; it prints the results as one JSON object. It is a process of its own, because the
library stores its base URLs in a class.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

ACCOUNT = "0000123456-00001"
SERVICE = "EnhancedConnectivityService"
PRODUCTION = "https://thingspace.verizon.com/api"


def main(url: str) -> dict[str, Any]:
    """Make every call in the order of a usual program."""
    configuration = importlib.import_module("verizon.configuration")
    addresses = configuration.Configuration.environments[configuration.Environment.PRODUCTION]
    for server, address in addresses.items():
        addresses[server] = address.replace(PRODUCTION, url)
    client_class = importlib.import_module("verizon.verizon_client").VerizonClient
    oauth = importlib.import_module("verizon.http.auth.thingspace_oauth")
    session = importlib.import_module("verizon.http.auth.vz_m2m_token")
    models = {
        name: importlib.import_module(f"verizon.models.{name}")
        for name in (
            "log_in_request",
            "register_callback_request",
            "sms_send_request",
            "device_id",
            "session_reset_password_request",
        )
    }
    credentials = oauth.ThingspaceOauthCredentials(
        oauth_client_id="emulator-app-key", oauth_client_secret="emulator-app-secret"
    )
    before = client_class(thingspace_oauth_credentials=credentials)
    login = before.session_management.start_connectivity_management_session(
        models["log_in_request"].LogInRequest("emulator-user", "emulator-password")
    )
    client = client_class(
        thingspace_oauth_credentials=credentials,
        vz_m2m_token_credentials=session.VZM2mTokenCredentials(vz_m2m_token=login.body.session_token),
    )
    seen: dict[str, Any] = {"login": [login.status_code, len(login.body.session_token)]}
    callbacks, sms = client.connectivity_callbacks, client.sms
    empty = callbacks.list_registered_callbacks(ACCOUNT)
    seen["listEmpty"] = [empty.status_code, empty.body]
    request = models["register_callback_request"].RegisterCallbackRequest(
        SERVICE, "https://hooks.example.net/sms", "plant-a", "example-only"
    )
    registered = callbacks.register_callback(ACCOUNT, request)
    seen["register"] = [registered.status_code, registered.body.account_name, registered.body.service_name]
    (listed,) = callbacks.list_registered_callbacks(ACCOUNT).body
    seen["list"] = [listed.account_name, listed.service_name, listed.url, listed.username, listed.password]
    gone = callbacks.deregister_callback(ACCOUNT, SERVICE)
    seen["deregister"] = [gone.status_code, gone.body.service_name]
    started = sms.start_queued_sms_delivery(ACCOUNT)
    seen["start"] = [started.status_code, started.body.success]
    device = models["device_id"].DeviceId("5551230001", "mdn")
    sent = sms.send_sms_to_device(models["sms_send_request"].SMSSendRequest(ACCOUNT, "report now", device_ids=[device]))
    seen["send"] = [sent.status_code, len(sent.body.request_id)]
    first = sms.list_devices_sms_messages(ACCOUNT)
    token = first.headers["Location"].partition("next=")[2]
    second = sms.list_devices_sms_messages(ACCOUNT, token)
    seen["history"] = [
        [response.status_code, len(response.body.messages), bool(getattr(response.body, "has_more_data", False))]
        for response in (first, second)
    ]
    seen["message"] = [first.body.messages[0].message, first.body.messages[0].device_ids[0].kind]
    try:
        sms.start_queued_sms_delivery("0000000000-00009")
    except Exception as error:  # noqa: BLE001 - the output has the name of the library's class
        seen["error"] = [type(error).__name__, getattr(error, "error_code", None)]
    forgetful = models["session_reset_password_request"].SessionResetPasswordRequest("emulator-password")
    reset = client.session_management.reset_connectivity_management_password(forgetful)
    seen["resetPassword"] = [reset.status_code, reset.body.new_password not in {"", "emulator-password"}]
    ended = client.session_management.end_connectivity_management_session()
    seen["logout"] = [ended.status_code, ended.body.session_token == login.body.session_token]
    return seen


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))  # noqa: T201 - its output is its result
