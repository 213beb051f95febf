"""Settings of the listener: file, environment and options, validated into one frozen object.

Every folder declares its settings. The environment wins over the file, an option over both. An empty value counts as
not set. For a variable `X`, `X_FILE` names a file that holds the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import AfterValidator, Field, ValidationError
from pydantic.alias_generators import to_snake

from thingspace_provider.common.urls import is_loopback, parse_http_url
from thingspace_provider.listener.forwarding.settings import ForwardingSettings
from thingspace_provider.listener.ingest.settings import IngestSettings
from thingspace_provider.listener.recovery.settings import OFF, CredentialSettings, RecoverySettings
from thingspace_provider.listener.setting_types import (
    InvalidSettings,
    Setting,
    SettingsModel,
    Text,
    Token,
    parse_json,
)
from thingspace_provider.listener.settings.error_messages import format_error
from thingspace_provider.listener.settings.settings_file import read_settings_file
from thingspace_provider.listener.store.settings import StoreSettings

DEFAULT_ADMIN_HOST, DEFAULT_ADMIN_PORT = "127.0.0.1", 28280  # ThingSpace posts to no such port


def _check_public_url(text: str) -> str:
    url = text.rstrip("/")
    parse_http_url(url)
    return url


class ListenerSettings(RecoverySettings, ForwardingSettings, StoreSettings, IngestSettings):
    """Settings of one listener process. Its repr holds no secret.

    Without `api_token` no one can read messages over HTTP. Without `retention_days` messages are kept forever.
    """

    api_token: Annotated[
        Token, Setting("what `python -c 'import secrets; print(secrets.token_urlsafe(24))'` prints")
    ] = ""
    retention_days: Annotated[float, Field(ge=0, le=36_500), Setting("90", parse_json)] = 0.0
    host: Annotated[Text, Setting('"127.0.0.1"')] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535), Setting("28200", parse_json)] = 28200
    admin_host: Annotated[Text, Setting('"127.0.0.1"')] = ""
    admin_port: Annotated[int | None, Field(ge=0, le=65_535), Setting("28280", parse_json)] = None
    public_url: Annotated[Text, AfterValidator(_check_public_url), Setting('"https://sms.example.com"')] = ""
    keep_alive_seconds: Annotated[int, Field(ge=1, le=3600), Setting("75", parse_json)] = 75
    tracing: Annotated[bool, Setting("true", parse_json)] = False

    @property
    def admin_address(self) -> tuple[str, int]:
        """Return host and port of the admin endpoints: on loopback those of the callbacks, unless one is set."""
        if is_loopback(self.host) and not self.admin_host and self.admin_port is None:
            return self.host, self.port
        return (
            self.admin_host or DEFAULT_ADMIN_HOST,
            DEFAULT_ADMIN_PORT if self.admin_port is None else self.admin_port,
        )

    @property
    def has_own_admin_address(self) -> bool:
        """Whether the admin endpoints have another address than the callbacks. Port 0 is never the same port."""
        return self.admin_address != (self.host, self.port) or self.admin_port == 0

    def build_callback_urls(self, url: str) -> dict[str, str]:
        """Return the callback URL of each account. They contain the path token."""
        base = self.public_url or url
        return {name: f"{base}/callbacks/{self.path_token}/{quote(name, safe='')}" for name in self.accounts}


def load_settings(path: Path | None, environment: Mapping[str, str], options: Mapping[str, Any]) -> ListenerSettings:
    """Read, merge and validate the settings.

    Args:
        path: the settings file, or None.
        environment: the environment variables.
        options: command-line options by the keys of the file; None for an option that was not given.

    Raises:
        InvalidSettings: with all errors.
    """
    values = read_settings_file(path)
    origins = dict.fromkeys(values, f"settings file {path}")
    _merge_environment(ListenerSettings, environment, values, origins)
    for key, value in options.items():
        if value is not None:
            values[key], origins[key] = value, f"option --{to_snake(key).replace('_', '-')}"
    credentials = values["thingspaceCredentials"] = values.get("thingspaceCredentials") or {}
    if isinstance(credentials, dict) and values.get("recoveryMode") not in (None, "", [], False, OFF):
        _merge_environment(CredentialSettings, environment, credentials, origins, "thingspaceCredentials.")
    try:
        return ListenerSettings.model_validate(values)
    except ValidationError as invalid:
        errors = [format_error(ListenerSettings, error, origins) for error in invalid.errors(include_url=False)]
    raise InvalidSettings(errors)


def list_settings_files(path: Path | None, environment: Mapping[str, str]) -> list[Path]:
    """Return the files that `load_settings` reads: the settings file, and those that variables with `_FILE` name."""
    variables = [
        f"{model.variable_of(name)}_FILE"
        for model in (ListenerSettings, CredentialSettings)
        for name in model.model_fields
    ]
    return [*([path] if path else []), *(Path(environment[name]) for name in variables if environment.get(name))]


def _merge_environment(
    model: type[SettingsModel],
    environment: Mapping[str, str],
    values: dict[str, Any],
    origins: dict[str, str],
    prefix: str = "",
) -> None:
    for name, field in model.model_fields.items():
        variable, key = model.variable_of(name), str(field.alias)
        text, origin = environment.get(variable), f"environment variable {variable}"
        if file := environment.get(f"{variable}_FILE"):
            if text:
                raise InvalidSettings([f"{variable} and {variable}_FILE are both set: remove one of them"])
            text, origin = _read_value(f"{variable}_FILE", file), f"file of {variable}_FILE"
        if text:
            values[key], origins[prefix + key] = Setting.of(field).parse_variable(text), origin


def _read_value(variable: str, file: str) -> str:
    """Return the content of a file without its last line break. Raises InvalidSettings."""
    try:
        return Path(file).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError) as error:
        detail = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidSettings([f"{variable}: {file} cannot be read: {detail}"]) from None
