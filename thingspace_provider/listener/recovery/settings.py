"""Settings of the queue recovery: its mode, its times, and the ThingSpace user that it logs in as.

The environment variables of the user are those of `pulumi up`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from thingspace_provider.listener.ingest.settings import AccountSettings, parse_off
from thingspace_provider.listener.setting_types import InvalidValue, Secret, Setting, SettingsModel, Text, parse_json

OFF, START_CALLBACKS, HISTORY = ("off", "startCallbacks", "history")


class CredentialSettings(SettingsModel):
    """ThingSpace user and application of the queue recovery."""

    variable_prefix = "THINGSPACE_"

    app_key: Annotated[Text, Setting('"…"')] = ""
    app_secret: Annotated[Secret, Setting('"…"')] = ""
    username: Annotated[Text, Setting('"…"')] = ""
    password: Annotated[Secret, Setting('"…"')] = ""
    base_url: Annotated[Text, Setting('"https://thingspace.verizon.com/api"')] = ""


class RecoverySettings(AccountSettings):
    """Settings of the queue recovery.

    ThingSpace delivers a rejected callback once more, 2 or 6 s later, and then queues it. So the default delay after
    a rejection is 10 s.
    """

    recovery_mode: Annotated[
        Literal["off", "startCallbacks", "history"],
        BeforeValidator(parse_off),
        Setting('"startCallbacks"'),
    ] = "off"
    recovery_delay_seconds: Annotated[float, Field(ge=0.1, le=300), Setting("10", parse_json)] = 10.0
    recovery_interval_seconds: Annotated[float, Field(ge=6, le=86_400), Setting("900", parse_json)] = 900.0
    thingspace_credentials: Annotated[
        CredentialSettings,
        Field(repr=False),
        Setting('{"appKey": "…", "appSecret": "…", "username": "…", "password": "…"}', parse_json),
    ] = CredentialSettings()

    @field_validator("thingspace_credentials")
    @classmethod
    def _check_complete(cls, credentials: CredentialSettings, info: ValidationInfo) -> CredentialSettings:
        """Return the credentials. Raises InvalidValue if the recovery needs one that is not set."""
        fields = CredentialSettings.model_fields
        missing = [name for name in fields if name != "base_url" and not getattr(credentials, name)]
        if missing and info.data.get("recovery_mode", OFF) != OFF:
            keys = ", ".join(str(fields[name].alias) for name in missing)
            variables = ", ".join(map(CredentialSettings.variable_of, missing))
            raise InvalidValue(
                f"{keys} must be set for recoveryMode {info.data['recovery_mode']}: set them in the settings file or "
                f"as {variables} in the environment, or set recoveryMode to off"
            )
        return credentials
