"""Settings of the store."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, PlainValidator

from thingspace_provider.listener.setting_types import Secret, Setting, SettingsModel, parse_json
from thingspace_provider.listener.store.disk_space import MinFreeDiskSpace, parse_disk_space
from thingspace_provider.listener.store.store_url import parse_store_url


class StoreSettings(SettingsModel):
    """Settings of the store. `store` can hold a password: `mask_store_url` masks it."""

    store: Annotated[
        Secret,
        AfterValidator(parse_store_url),
        Setting('"sqlite:////var/lib/thingspace/inbox.sqlite3"'),
    ]
    min_free_disk_space: Annotated[MinFreeDiskSpace, PlainValidator(parse_disk_space), Setting('"100MB"')] = (
        parse_disk_space("100MB")
    )
    require_synchronous_standby: Annotated[bool, Setting("true", parse_json)] = False
