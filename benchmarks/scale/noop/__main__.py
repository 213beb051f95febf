"""One resource without any function for each account."""

import os

from noop_resource import Noop

for account in os.environ["ACCOUNTS"].split():
    Noop(f"sms-{account}", account)
