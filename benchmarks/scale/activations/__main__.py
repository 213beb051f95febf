"""One activation for each account."""

import os

from thingspace_provider.resources import SmsCallbackActivation

for account in os.environ["ACCOUNTS"].split():
    SmsCallbackActivation(f"sms-{account}", account_name=account)
