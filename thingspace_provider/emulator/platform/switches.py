"""The unknowns of ThingSpace: what no page and no measurement tells is a switch with a name, never a silent guess."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


class InvalidSwitch(ValueError):
    """A switch or a value that does not exist; the text names those that do."""


@dataclass(frozen=True, slots=True)
class Switch:
    """One unknown: its name, the question it answers, and the answers, the default first."""

    name: str
    question: str
    choices: tuple[str, ...]

    @property
    def default(self) -> str:
        """The answer the emulator gives unless told otherwise."""
        return self.choices[0]


SWITCHES: tuple[Switch, ...] = (
    Switch("lastPage", "How is the last block of history acknowledged?", ("location", "auto", "never")),
    Switch("unknownPageToken", "What does history answer to a token it does not know?", ("rejected", "ignored")),
    Switch("repeatedPageToken", "Which token comes with a block that is read again?", ("sameToken", "newToken")),
    Switch("emptyHistory", "What does history answer when nothing is queued?", ("object", "zeroLength")),
    Switch("emptyCallbackList", "What is listed when nothing is registered?", ("zeroLength", "array", "null")),
    Switch("unsetCredentials", "How is a listener without a password listed?", ("omitted", "emptyStrings")),
    Switch("reregistration", "What happens when a registered service is registered again?", ("replaced", "rejected")),
    Switch(
        "passwordAfterReregistration",
        "Which password do callbacks carry after a re-registration? `alternating`: old and new for 14 minutes.",
        ("new", "alternating"),
    ),
    Switch("deregisterUnknown", "What does deregistering an unknown service answer?", ("rejected", "accepted")),
    Switch("registrationPorts", "Which ports may a new registration use?", ("documented", "without28200", "any")),
    Switch("wrongPassword", "Which status does a refused login have?", ("400", "401")),
    Switch("olderSessions", "Does a new login end the user's older sessions?", ("kept", "ended")),
    Switch("unknownSession", "Which code has a well-formed session token nobody knows?", ("invalid", "expired")),
    Switch("expiresIn", "Does expires_in count down when a token is handed out again?", ("countsDown", "constant")),
    Switch(
        "retryProfile",
        "How are callbacks retried? `observed`: once, after 1.3 s or 4 s of silence. `documented`: 3 times, by 300 s.",
        ("observed", "documented"),
    ),
    Switch("callbackBody", "Has a text's callback requestId and counts?", ("minimal", "modern")),
    Switch("failedDrainDelivery", "Where does a text go whose drained callback fails?", ("queued", "dropped")),
    Switch("callbackDeviceIds", "How are devices named in a callback?", ("mdnIccid", "sixUpperCase")),
    Switch("escaping", "Are = & < > ' escaped in a callback's text?", ("off", "single", "double")),
    Switch("invalidCharacters", "Is an apostrophe, < or backslash in a request refused?", ("rejected", "accepted")),
    Switch("drainOrder", "In which order does startCallbacks send?", ("interleaved", "asQueued")),
    Switch(
        "sourceAddress",
        "Does a callback carry one of the published source addresses, as a proxy's X-Forwarded-For?",
        ("loopback", "published"),
    ),
    Switch("tlsVerification", "Must a listener's certificate be signed by a known authority?", ("verify", "skip")),
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
"""Named sets of switches: the sender as its pages describe it, and as it was measured."""

_BY_NAME = {switch.name: switch for switch in SWITCHES}


class Switches:
    """The current answer to every unknown."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = {switch.name: switch.default for switch in SWITCHES}
        self.update(values or {})

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def update(self, values: Mapping[str, Any]) -> None:
        """Set all of the given switches or none of them.

        The key `preset` sets a whole group first. Raises UnknownSwitch with what would have been right.
        """
        wanted: dict[str, str] = {}
        for name, value in values.items():
            if name == "preset":
                if not isinstance(value, str) or value not in PRESETS:
                    raise InvalidSwitch(f"there is no preset {value!r}; there are: {', '.join(PRESETS)}")
                wanted = {**PRESETS[value], **wanted}
                continue
            switch = _BY_NAME.get(name)
            if switch is None:
                raise InvalidSwitch(f"there is no switch {name!r}; there are: preset, {', '.join(_BY_NAME)}")
            if str(value) not in switch.choices:
                raise InvalidSwitch(f"switch {name} cannot be {value!r}; it can be: {', '.join(switch.choices)}")
            wanted[name] = str(value)
        self._values.update(wanted)

    def as_dict(self) -> dict[str, str]:
        """Name -> value, every switch."""
        return dict(self._values)

    def restore_defaults(self) -> None:
        """Every switch to its default."""
        self._values = {switch.name: switch.default for switch in SWITCHES}
