"""Settings of the forwarding."""

from __future__ import annotations

from typing import Annotated

from pydantic import PlainValidator

from thingspace_provider.listener.forwarding.sinks.settings import SinkSettings, parse_sinks
from thingspace_provider.listener.setting_types import Setting, SettingsModel, parse_json


class ForwardingSettings(SettingsModel):
    """The sinks. Without any, messages are only read."""

    sinks: Annotated[
        tuple[SinkSettings, ...],
        PlainValidator(parse_sinks),
        Setting(
            '[{"name": "hub", "kind": "http", "url": "https://hub.example.com/sms", "signingSecrets": ["whsec_…"]}]',
            parse_json,
        ),
    ] = ()
