"""The adapters between Pulumi's dynamic providers and our lifecycle.

The path of this module and the names of the classes at its end are pickled into every user's state: they are
a file format, and a test holds them. The classes have no attributes of their own, so that the pickle is the name
and nothing else: no code, no credential, the same on every machine and Python version.
"""

from __future__ import annotations

import atexit
import datetime as dt
import functools
import os
import sys
import threading
import traceback
from collections.abc import Callable, Collection
from typing import Any, ClassVar, TypeVar

from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    ResourceProvider,
    UpdateResult,
)
from pulumi.output import Unknown as PulumiUnknown

from thingspace_provider import api, sdk_thread_pool
from thingspace_provider.api.errors import ThingSpaceError
from thingspace_provider.config.credentials import Clients, Config, credentials, limits, place
from thingspace_provider.lifecycle.activation import SmsCallbackActivation
from thingspace_provider.lifecycle.credential import CallbackCredential
from thingspace_provider.lifecycle.local_listener import LocalListener
from thingspace_provider.lifecycle.model import UNKNOWN, Context, Lifecycle, State, Unknown
from thingspace_provider.lifecycle.registration import CallbackRegistration

PROVIDER_KEY = "__provider"
LONGEST_MESSAGE = 4000  # bytes as sent; gRPC carries an error in a header, which has to stay small
SIGNATURE, SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"  # a secret, for the engine
Result = TypeVar("Result")

_CLIENTS = Clients()  # shared by all resources of the provider process: one token, one session
atexit.register(_CLIENTS.logout)  # Python ends its worker threads first, so nobody uses a session any more
_SAY = threading.Lock()


class _Adapter(ResourceProvider):
    """Turns what the engine sends into plain state, calls the lifecycle, and turns the answer back."""

    serialize_as_secret_always = False  # the pickle is a name; a smaller state makes large updates faster
    lifecycle: ClassVar[Lifecycle]

    def configure(self, req: ConfigureRequest) -> None:
        """Remember where settings come from, and make room for many calls; nothing is sent before it is needed."""
        self._config = req.config.get
        _guarded(_widen)

    def check(self, _olds: State, news: State) -> CheckResult:
        """Validate and normalise; works in previews without credentials."""

        def run() -> CheckResult:
            checked = self.lifecycle.check(_inwards(news))
            return CheckResult(_outwards(checked.inputs), [CheckFailure(f.key, f.reason) for f in checked.failures])

        return _guarded(run)

    def diff(self, _id: str, _olds: State, _news: State) -> DiffResult:
        """Compare; works in previews without credentials."""

        def run() -> DiffResult:
            difference = self.lifecycle.diff(_inwards(_olds), _inwards(_news), self._where)
            return DiffResult(
                changes=difference.changes,
                replaces=difference.replaces,
                delete_before_replace=difference.delete_before_replace,
            )

        return _guarded(run)

    def create(self, props: State) -> CreateResult:
        """Make it so."""

        def run() -> CreateResult:
            created = self.lifecycle.create(self._context(props), _inwards(props))
            return CreateResult(created.id, created.outputs)

        return _guarded(run)

    def read(self, id_: str, props: State) -> ReadResult:
        """What is there; an empty id says that it is gone."""

        def run() -> ReadResult:
            current = self.lifecycle.read(self._context(props), _inwards(props))
            if current is None:
                return ReadResult("", {})
            return ReadResult(id_, *(_hidden(it, current.secrets) for it in (current.outputs, current.inputs)))

        return _guarded(run)

    def update(self, _id: str, _olds: State, _news: State) -> UpdateResult:
        """Change it in place."""

        def run() -> UpdateResult:
            return UpdateResult(self.lifecycle.update(self._context(_olds, _news), _inwards(_olds), _inwards(_news)))

        return _guarded(run)

    def delete(self, _id: str, _props: State) -> None:
        """Take it away."""
        _guarded(lambda: self.lifecycle.delete(self._context(_props), _inwards(_props)))

    def _context(self, *states: State) -> Context:
        """The context of one operation, which is about these states."""
        config: Config = self._config
        allowed = limits(os.environ, config)

        @functools.cache
        def patience() -> api.Patience:  # from the first call to ThingSpace on: a listener's proof has its own time
            return api.Patience(allowed, _say)

        def client(profile: str | None) -> api.Client:
            shared = _CLIENTS.get(credentials(profile, os.environ, config), allowed)
            return shared.within(patience(), [secret for state in states for secret in _secrets(state)])

        return Context(client=client, say=_say, now=lambda: dt.datetime.now(dt.timezone.utc), where=self._where)

    def _where(self, profile: str | None) -> str:
        return place(profile, os.environ, self._config)


def _secrets(state: State) -> list[object]:
    """What ThingSpace may repeat of a registration's inputs, and nobody may see."""
    url = state.get("url")
    return [state.get("password"), *(api.secrets_in(url) if isinstance(url, str) else [])]


class CallFailed(Exception):
    """What the engine shows when a call fails: one readable message, whatever the cause was."""


# The engine prints the class before the message; this keeps the module's path out of the user's sight.
CallFailed.__module__ = "builtins"
CallFailed.__qualname__ = "ThingSpace"


def _guarded(run: Callable[[], Result]) -> Result:
    """Run one call; every way of failing becomes one Exception with a message for people.

    A BaseException that reached gRPC would never be answered, and `pulumi up` would wait for ever. The SDK sends a
    whole traceback; `sys.tracebacklimit` is its only handle for sending the message alone.
    """
    try:
        return run()
    except BaseException as error:  # noqa: BLE001
        if os.environ.get("THINGSPACE_DEBUG"):
            where = (error.__cause__ or error).__traceback__
            frames = "".join(traceback.format_tb(where))[-LONGEST_MESSAGE // 2 :]  # the innermost last
            text = _cut(f"{type(error).__name__}: {error}", LONGEST_MESSAGE // 2)
            raise CallFailed(f"{text}\n{frames}") from None
        sys.tracebacklimit = 0
        raise CallFailed(_cut(_message(error))) from None


def _message(error: BaseException) -> str:
    if isinstance(error, ThingSpaceError):
        return str(error)
    # The text of an unforeseen error may quote what it stumbled over, a secret perhaps: only its kind is shown.
    [where] = traceback.extract_tb(error.__traceback__, limit=-1)  # without a limit, the process-wide one of 0 holds
    return (
        f"an unforeseen {type(error).__name__} in {os.path.basename(where.filename)} line {where.lineno}. "  # noqa: PTH119
        "This is a defect of thingspace-provider. THINGSPACE_DEBUG=1 shows all of it, possibly with secrets."
    )


def _cut(text: str, room: int = LONGEST_MESSAGE) -> str:
    """The beginning that fits. In a header, a byte that is not ASCII takes the room of three."""
    for position, character in enumerate(text):
        room -= 1 if character.isascii() else 3 * len(character.encode(errors="replace"))
        if room < 0:
            return text[:position] + " ..."
    return text


def _say(text: str) -> None:
    """Tell the person at `pulumi up` one line: what a provider writes here, the engine shows."""
    with _SAY:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


@functools.cache
def _widen() -> None:
    """Have more calls under way at once than the SDK's four, where that is possible."""
    why_not = sdk_thread_pool.widen(sdk_thread_pool.wanted(os.environ))
    if why_not and os.environ.get("THINGSPACE_DEBUG"):
        _say(f"at most {sdk_thread_pool.SDK_LIMIT} calls at once, the SDK's own limit: {why_not}")


def _inwards(state: State) -> State:
    """Without the pickle, and with our own mark for what is not known yet."""
    return {key: _swap(value, PulumiUnknown, lambda: UNKNOWN) for key, value in state.items() if key != PROVIDER_KEY}


def _outwards(state: State) -> State:
    """With Pulumi's mark for what is not known yet."""
    return {key: _swap(value, Unknown, PulumiUnknown) for key, value in state.items()}


def _hidden(state: State, secrets: Collection[str]) -> State:
    """With some values marked as secrets. The SDK's own mark, Output.secret, needs an event loop, which is not here."""
    return {
        key: {SIGNATURE: SECRET, "value": value} if key in secrets and value is not None else value
        for key, value in state.items()
    }


def _swap(value: Any, mark: type, other: Callable[[], object]) -> Any:
    if isinstance(value, mark):
        return other()
    if isinstance(value, dict):
        return {key: _swap(item, mark, other) for key, item in value.items()}
    if isinstance(value, list):
        return [_swap(item, mark, other) for item in value]
    return value


class SmsCallbackActivationProvider(_Adapter):
    """Pickled by name; never move or rename."""

    lifecycle = SmsCallbackActivation()


class CallbackRegistrationProvider(_Adapter):
    """Pickled by name; never move or rename."""

    lifecycle = CallbackRegistration()


class CallbackCredentialProvider(_Adapter):
    """Pickled by name; never move or rename."""

    lifecycle = CallbackCredential()


class LocalListenerProvider(_Adapter):
    """Pickled by name; never move or rename."""

    lifecycle = LocalListener()
