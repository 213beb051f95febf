"""One resource that does nothing for each account."""

import os

from do_nothing import Nothing

for account in os.environ["ACCOUNTS"].split():
    Nothing(f"sms-{account}", account)
