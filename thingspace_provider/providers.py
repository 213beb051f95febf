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
from thingspace_provider.config.credentials import (
    ClientCache,
    Config,
    base_url_fingerprint,
    resolve_credentials,
    resolve_limits,
)
from thingspace_provider.lifecycle.activation import ActivationLifecycle
from thingspace_provider.lifecycle.credential import CredentialLifecycle
from thingspace_provider.lifecycle.local_listener import LocalListenerLifecycle
from thingspace_provider.lifecycle.model import UNKNOWN, Context, Lifecycle, State, Unknown
from thingspace_provider.lifecycle.registration import RegistrationLifecycle

PROVIDER_KEY = "__provider"
MAX_MESSAGE_BYTES = 4000  # bytes as sent; gRPC carries an error in a header, which has to stay small
SIGNATURE_KEY, SECRET_SIGNATURE = (
    "4dabf18193072939515e22adb298388d",
    "1b47061264138c4ac30d75fd1eb44270",
)  # a secret, for the engine
Result = TypeVar("Result")

_CLIENT_CACHE = ClientCache()  # shared by all resources of the provider process: one token, one session
atexit.register(_CLIENT_CACHE.logout)  # Python ends its worker threads first, so nobody uses a session any more
_LOG_LOCK = threading.Lock()


class _LifecycleProvider(ResourceProvider):
    """Turns what the engine sends into plain state, calls the lifecycle, and turns the answer back."""

    serialize_as_secret_always = False  # the pickle is a name; a smaller state makes large updates faster
    lifecycle: ClassVar[Lifecycle]

    def configure(self, req: ConfigureRequest) -> None:
        """Remember where settings come from, and make room for many calls; nothing is sent before it is needed."""
        self._config = req.config.get
        _translate_errors(_raise_concurrency)

    def check(self, _olds: State, news: State) -> CheckResult:
        """Validate and normalise; works in previews without credentials."""

        def run() -> CheckResult:
            checked = self.lifecycle.check(_from_engine(news))
            return CheckResult(
                _to_engine(checked.inputs), [CheckFailure(failure.key, failure.reason) for failure in checked.failures]
            )

        return _translate_errors(run)

    def diff(self, _id: str, _olds: State, _news: State) -> DiffResult:
        """Compare; works in previews without credentials."""

        def run() -> DiffResult:
            difference = self.lifecycle.diff(_from_engine(_olds), _from_engine(_news), self._fingerprint)
            return DiffResult(
                changes=difference.changes,
                replaces=difference.replaces,
                delete_before_replace=difference.delete_before_replace,
            )

        return _translate_errors(run)

    def create(self, props: State) -> CreateResult:
        """Make it so."""

        def run() -> CreateResult:
            created = self.lifecycle.create(self._context(props), _from_engine(props))
            return CreateResult(created.id, created.outputs)

        return _translate_errors(run)

    def read(self, id_: str, props: State) -> ReadResult:
        """What is there; an empty id says that it is gone."""

        def run() -> ReadResult:
            current = self.lifecycle.read(self._context(props), _from_engine(props))
            if current is None:
                return ReadResult("", {})
            return ReadResult(
                id_, *(_mark_secret(properties, current.secrets) for properties in (current.outputs, current.inputs))
            )

        return _translate_errors(run)

    def update(self, _id: str, _olds: State, _news: State) -> UpdateResult:
        """Change it in place."""

        def run() -> UpdateResult:
            return UpdateResult(
                self.lifecycle.update(self._context(_olds, _news), _from_engine(_olds), _from_engine(_news))
            )

        return _translate_errors(run)

    def delete(self, _id: str, _props: State) -> None:
        """Take it away."""
        _translate_errors(lambda: self.lifecycle.delete(self._context(_props), _from_engine(_props)))

    def _context(self, *states: State) -> Context:
        """The context of one operation, which is about these states."""
        config: Config = self._config
        resolved_limits = resolve_limits(os.environ, config)

        @functools.cache
        def deadline() -> api.Deadline:  # from the first call to ThingSpace on: a listener's proof has its own time
            return api.Deadline(resolved_limits, _log)

        def client(profile: str | None) -> api.ThingSpaceClient:
            shared = _CLIENT_CACHE.get(resolve_credentials(profile, os.environ, config), resolved_limits)
            return shared.with_deadline(deadline(), [secret for state in states for secret in _state_secrets(state)])

        return Context(
            client=client, log=_log, now=lambda: dt.datetime.now(dt.timezone.utc), fingerprint=self._fingerprint
        )

    def _fingerprint(self, profile: str | None) -> str:
        return base_url_fingerprint(profile, os.environ, self._config)


def _state_secrets(state: State) -> list[object]:
    """What ThingSpace may repeat of a registration's inputs, and nobody may see."""
    url = state.get("url")
    return [state.get("password"), *(api.url_secrets(url) if isinstance(url, str) else [])]


class ProviderError(Exception):
    """What the engine shows when a call fails: one readable message, whatever the cause was."""


# The engine prints the class before the message; this keeps the module's path out of the user's sight.
ProviderError.__module__ = "builtins"
ProviderError.__qualname__ = "ThingSpace"


def _translate_errors(run: Callable[[], Result]) -> Result:
    """Run one call; every way of failing becomes one Exception with a message for people.

    A BaseException that reached gRPC would never be answered, and `pulumi up` would wait for ever. The SDK sends a
    whole traceback; `sys.tracebacklimit` is its only handle for sending the message alone.
    """
    try:
        return run()
    except BaseException as error:  # noqa: BLE001
        if os.environ.get("THINGSPACE_DEBUG"):
            error_traceback = (error.__cause__ or error).__traceback__
            frames = "".join(traceback.format_tb(error_traceback))[-MAX_MESSAGE_BYTES // 2 :]  # the innermost last
            message = _truncate(f"{type(error).__name__}: {error}", MAX_MESSAGE_BYTES // 2)
            raise ProviderError(f"{message}\n{frames}") from None
        sys.tracebacklimit = 0
        raise ProviderError(_truncate(_format_error(error))) from None


def _format_error(error: BaseException) -> str:
    if isinstance(error, ThingSpaceError):
        return str(error)
    # The text of an unforeseen error may quote what it stumbled over, a secret perhaps: only its kind is shown.
    [frame] = traceback.extract_tb(error.__traceback__, limit=-1)  # without a limit, the process-wide one of 0 holds
    return (
        f"an unforeseen {type(error).__name__} in {os.path.basename(frame.filename)} line {frame.lineno}. "  # noqa: PTH119
        "This is a defect of thingspace-provider. THINGSPACE_DEBUG=1 shows all of it, possibly with secrets."
    )


def _truncate(text: str, remaining_bytes: int = MAX_MESSAGE_BYTES) -> str:
    """The beginning that fits. In a header, a byte that is not ASCII takes the room of three."""
    for position, character in enumerate(text):
        remaining_bytes -= 1 if character.isascii() else 3 * len(character.encode(errors="replace"))
        if remaining_bytes < 0:
            return text[:position] + " ..."
    return text


def _log(message: str) -> None:
    """Tell the person at `pulumi up` one line: what a provider writes here, the engine shows."""
    with _LOG_LOCK:
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()


@functools.cache
def _raise_concurrency() -> None:
    """Have more calls under way at once than the SDK's four, where that is possible."""
    reason = sdk_thread_pool.raise_max_workers(sdk_thread_pool.read_max_workers(os.environ))
    if reason and os.environ.get("THINGSPACE_DEBUG"):
        _log(f"at most {sdk_thread_pool.SDK_LIMIT} calls at once, the SDK's own limit: {reason}")


def _from_engine(state: State) -> State:
    """Without the pickle, and with our own mark for what is not known yet."""
    return {
        key: _replace_unknowns(value, PulumiUnknown, lambda: UNKNOWN)
        for key, value in state.items()
        if key != PROVIDER_KEY
    }


def _to_engine(state: State) -> State:
    """With Pulumi's mark for what is not known yet."""
    return {key: _replace_unknowns(value, Unknown, PulumiUnknown) for key, value in state.items()}


def _mark_secret(state: State, secrets: Collection[str]) -> State:
    """With some values marked as secrets. The SDK's own mark, Output.secret, needs an event loop, which is not here."""
    return {
        key: {SIGNATURE_KEY: SECRET_SIGNATURE, "value": value} if key in secrets and value is not None else value
        for key, value in state.items()
    }


def _replace_unknowns(value: Any, unknown_type: type, make_unknown: Callable[[], object]) -> Any:
    if isinstance(value, unknown_type):
        return make_unknown()
    if isinstance(value, dict):
        return {key: _replace_unknowns(item, unknown_type, make_unknown) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace_unknowns(item, unknown_type, make_unknown) for item in value]
    return value


class SmsCallbackActivationProvider(_LifecycleProvider):
    """Pickled by name; never move or rename."""

    lifecycle = ActivationLifecycle()


class CallbackRegistrationProvider(_LifecycleProvider):
    """Pickled by name; never move or rename."""

    lifecycle = RegistrationLifecycle()


class CallbackCredentialProvider(_LifecycleProvider):
    """Pickled by name; never move or rename."""

    lifecycle = CredentialLifecycle()


class LocalListenerProvider(_LifecycleProvider):
    """Pickled by name; never move or rename."""

    lifecycle = LocalListenerLifecycle()
