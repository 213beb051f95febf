"""One resource that does nothing for each account."""

import os

from noop_resource import Nothing

for account in os.environ["ACCOUNTS"].split():
    Nothing(f"sms-{account}", account)
