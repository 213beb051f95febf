"""Switches: named choices for behaviour that ThingSpace does not document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


class InvalidSwitch(ValueError):
    """An unknown switch or value; the message names the existing ones."""


@dataclass(frozen=True, slots=True)
class Switch:
    """Switch: a question about ThingSpace's behaviour, and the possible answers, default first."""

    name: str
    question: str
    choices: tuple[str, ...]

    @property
    def default(self) -> str:
        """Value of the switch unless it is set."""
        return self.choices[0]


SWITCHES: tuple[Switch, ...] = (
    Switch("lastPage", "How is the last history page acknowledged?", ("location", "auto", "never")),
    Switch("unknownPageToken", "How does history respond to an unknown page token?", ("rejected", "ignored")),
    Switch(
        "repeatedPageToken", "Which token does a history page have when it is read again?", ("sameToken", "newToken")
    ),
    Switch("emptyHistory", "How does history respond for an empty queue?", ("object", "zeroLength")),
    Switch("emptyCallbackList", "What is the response to a list of no registrations?", ("zeroLength", "array", "null")),
    Switch("unsetCredentials", "How is a listener without a password listed?", ("omitted", "emptyStrings")),
    Switch("reregistration", "What happens when a registered service is registered again?", ("replaced", "rejected")),
    Switch(
        "passwordAfterReregistration",
        "Which password do callbacks carry after a re-registration? `alternating`: old and new for 14 minutes.",
        ("new", "alternating"),
    ),
    Switch("deregisterUnknown", "Is the deregistration of an unknown service rejected?", ("rejected", "accepted")),
    Switch("registrationPorts", "Which ports may a new registration use?", ("documented", "without28200", "any")),
    Switch("wrongPassword", "Which status does a rejected login have?", ("400", "401")),
    Switch("olderSessions", "Does a new login end the user's older sessions?", ("valid", "ended")),
    Switch("unknownSession", "Which code does a well-formed but unknown session token get?", ("invalid", "expired")),
    Switch("expiresIn", "Does expires_in count down when the same token is issued again?", ("countsDown", "constant")),
    Switch(
        "retryProfile",
        "How are callbacks retried? `observed`: once, 1.3 s later. `documented`: three times, every 300 s.",
        ("observed", "documented"),
    ),
    Switch(
        "callbackBody",
        "Does the callback of a device message have a requestId and attempt counts?",
        ("minimal", "modern"),
    ),
    Switch("failedDrainDelivery", "What happens to a message whose drain delivery fails?", ("queued", "dropped")),
    Switch("callbackDeviceIds", "Which identifiers does a callback have?", ("mdnIccid", "sixUpperCase")),
    Switch("escaping", "Are = & < > ' escaped in a callback?", ("off", "single", "double")),
    Switch("invalidCharacters", "Is an apostrophe, < or backslash in a request rejected?", ("rejected", "accepted")),
    Switch("drainOrder", "In which order does startCallbacks deliver?", ("interleaved", "asQueued")),
    Switch(
        "sourceAddress",
        "Does a callback have one of the published source addresses in X-Forwarded-For, as behind a proxy?",
        ("loopback", "published"),
    ),
    Switch("tlsVerification", "Is the certificate of a listener verified?", ("verify", "skip")),
)

PRESETS: dict[str, dict[str, str]] = {
    "documented": {
        "retryProfile": "documented",
        "passwordAfterReregistration": "new",
        "sourceAddress": "loopback",
    },
    "observed": {
        "retryProfile": "observed",
        "passwordAfterReregistration": "alternating",
        "sourceAddress": "published",
    },
}
"""Presets of the callback sender: as documented by ThingSpace, and as measured."""

_BY_NAME = {switch.name: switch for switch in SWITCHES}


class Switches:
    """Current value of every switch."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = {switch.name: switch.default for switch in SWITCHES}
        self.update(values or {})

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def update(self, values: Mapping[str, Any]) -> None:
        """Set all given switches, or none if one is invalid.

        The key `preset` sets several switches; single ones take precedence. Raises InvalidSwitch.
        """
        new_values: dict[str, str] = {}
        for name, value in values.items():
            if name == "preset":
                if not isinstance(value, str) or value not in PRESETS:
                    raise InvalidSwitch(f"unknown preset {value!r}; known presets: {', '.join(PRESETS)}")
                new_values = {**PRESETS[value], **new_values}
                continue
            switch = _BY_NAME.get(name)
            if switch is None:
                raise InvalidSwitch(f"unknown switch {name!r}; known switches: preset, {', '.join(_BY_NAME)}")
            if str(value) not in switch.choices:
                raise InvalidSwitch(
                    f"invalid value {value!r} of switch {name}; valid values: {', '.join(switch.choices)}"
                )
            new_values[name] = str(value)
        self._values.update(new_values)

    def as_dict(self) -> dict[str, str]:
        """Return every switch and its value."""
        return dict(self._values)

    def restore_defaults(self) -> None:
        """Set every switch to its default."""
        self._values = {switch.name: switch.default for switch in SWITCHES}
