"""Accounts of two ThingSpace users are sent to one listener. Each user is a profile."""

import pulumi

from thingspace_provider import CallbackCredential, LocalListener, SmsCallbacks

accounts_by_profile = {
    "plant_a": ["0000123456-00001"],
    "plant_b": ["0000987654-00001", "0000987654-00002"],
}
all_accounts = [account for accounts in accounts_by_profile.values() for account in accounts]
credential = CallbackCredential("credential")
listener = LocalListener("listener", account_names=all_accounts, credential=credential)

for profile, accounts in accounts_by_profile.items():
    sms = SmsCallbacks(profile, account_names=accounts, listener=listener, credential=credential, profile=profile)
    pulumi.export(profile, {account: registration.endpoint for account, registration in sms.registrations.items()})
