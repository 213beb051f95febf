"""Adapters from Pulumi's dynamic providers to the lifecycles.

The path of this module and the names of the classes at its end are pickled into every user's state. They are a file
format that never changes. The instances have no attributes when they are pickled, so a pickle holds only the name: no
code, no credential, and the same bytes on every machine and Python version.
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
from typing import Any, ClassVar, ParamSpec, TypeVar

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
from thingspace_provider.api.client_cache import ClientCache
from thingspace_provider.api.errors import CredentialsMissing, ThingSpaceError
from thingspace_provider.common.urls import url_secrets
from thingspace_provider.config.credentials import Config, base_url_fingerprint, resolve_credentials
from thingspace_provider.config.limits import resolve_limits
from thingspace_provider.lifecycle.activation import ActivationLifecycle
from thingspace_provider.lifecycle.credential import CredentialLifecycle
from thingspace_provider.lifecycle.local_listener import LocalListenerLifecycle
from thingspace_provider.lifecycle.model import UNKNOWN, Context, Lifecycle, State, Unknown
from thingspace_provider.lifecycle.registration import RegistrationLifecycle

PROVIDER_KEY = "__provider"
MAX_MESSAGE_BYTES = 4000  # as sent: gRPC carries an error in a header, and clients reject headers above 8 kB
# The engine's mark for a secret value: https://www.pulumi.com/docs/iac/concepts/secrets/
SIGNATURE_KEY, SECRET_SIGNATURE = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_CLIENT_CACHE = ClientCache()  # all resources of the provider process share one access token and one session
atexit.register(_CLIENT_CACHE.logout)  # Python joins its worker threads first, so no session is in use any more
_LOG_LOCK = threading.Lock()
_REPORTED_ERRORS: set[str] = set()


class ProviderError(Exception):
    """Error of a resource operation, as the engine prints it: one readable message."""


# The engine prints the qualified class name before the message: "ThingSpace: ...".
ProviderError.__module__ = "builtins"
ProviderError.__qualname__ = "ThingSpace"


def _translate_errors(method: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Convert any error of a resource operation to ProviderError.

    gRPC sends no response after a BaseException, and `pulumi up` would wait forever. The SDK sends the traceback with
    the message; `sys.tracebacklimit` is the only way to send the message alone.
    """

    @functools.wraps(method)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return method(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001
            if os.environ.get("THINGSPACE_DEBUG"):
                raise ProviderError(_format_traceback(error)) from None
            sys.tracebacklimit = 0
            raise ProviderError(_truncate(_format_error(error))) from None

    return run


class _LifecycleProvider(ResourceProvider):
    """Converts the engine's values to plain state, runs the lifecycle, and converts its result back."""

    serialize_as_secret_always = False  # the pickle is no secret, and a smaller state makes large updates faster
    lifecycle: ClassVar[Lifecycle]

    @_translate_errors
    def configure(self, req: ConfigureRequest) -> None:
        """Keep the stack configuration and raise the number of worker threads. Sends no call."""
        self._config = req.config.get
        _raise_concurrency()

    @_translate_errors
    def check(self, _olds: State, news: State) -> CheckResult:
        """Validate the inputs and fill in defaults. Needs no credentials."""
        checked = self.lifecycle.check(_from_engine(news))
        failures = [CheckFailure(failure.key, failure.reason) for failure in checked.failures]
        return CheckResult(_to_engine(checked.inputs), failures)

    @_translate_errors
    def diff(self, _id: str, _olds: State, _news: State) -> DiffResult:
        """Compare state and inputs. Needs no credentials."""
        difference = self.lifecycle.diff(_from_engine(_olds), _from_engine(_news), self._fingerprint)
        return DiffResult(
            changes=difference.changes,
            replaces=difference.replaces,
            delete_before_replace=difference.delete_before_replace,
        )

    @_translate_errors
    def create(self, props: State) -> CreateResult:
        """Create the resource."""
        created = self.lifecycle.create(self._context(props), _from_engine(props))
        return CreateResult(created.id, created.outputs)

    @_translate_errors
    def read(self, id_: str, props: State) -> ReadResult:
        """Read the resource. An empty id means that it no longer exists."""
        current = self.lifecycle.read(self._context(props), id_, _from_engine(props))
        if current is None:
            return ReadResult("", {})
        inputs = None if current.inputs is None else _mark_secret(current.inputs, current.secrets)
        return ReadResult(id_, _mark_secret(current.outputs, current.secrets), inputs)

    @_translate_errors
    def update(self, _id: str, _olds: State, _news: State) -> UpdateResult:
        """Update the resource in place."""
        context = self._context(_olds, _news)
        return UpdateResult(self.lifecycle.update(context, _from_engine(_olds), _from_engine(_news)))

    @_translate_errors
    def delete(self, _id: str, _props: State) -> None:
        """Delete the resource."""
        self.lifecycle.delete(self._context(_props), _from_engine(_props))

    def _context(self, *states: State) -> Context:
        """Return the context of one resource operation. Secrets in the states are redacted in its errors."""
        config: Config = self._config
        resolved_limits = resolve_limits(os.environ, config)

        @functools.cache
        def deadline() -> api.Deadline:  # starts with the first client: the readiness probe has its own timeout
            return api.Deadline(resolved_limits, _log)

        def client(profile: str | None) -> api.ThingSpaceClient:
            shared = _CLIENT_CACHE.get(_resolve_credentials(profile, config), resolved_limits)
            return shared.with_deadline(deadline(), [secret for state in states for secret in _state_secrets(state)])

        return Context(
            client=client, log=_log, now=lambda: dt.datetime.now(dt.timezone.utc), fingerprint=self._fingerprint
        )

    def _fingerprint(self, profile: str | None) -> str:
        return base_url_fingerprint(profile, os.environ, self._config)


def _resolve_credentials(profile: str | None, config: Config) -> api.Credentials:
    """Return the credentials. What is missing is named once, because each error of a resource is printed twice."""
    try:
        return resolve_credentials(profile, os.environ, config)
    except CredentialsMissing as error:
        with _LOG_LOCK:
            is_known = str(error) in _REPORTED_ERRORS
            _REPORTED_ERRORS.add(str(error))
        if not is_known:
            raise
        hint = "The first error of this run names what is missing."
        raise CredentialsMissing(error.action, detail="the credentials are incomplete", hint=hint) from None


def _state_secrets(state: State) -> list[object]:
    """Return the secrets of a registration that ThingSpace may repeat in an error response."""
    url = state.get("url")
    return [state.get("password"), *(url_secrets(url) if isinstance(url, str) else [])]


def _format_error(error: BaseException) -> str:
    if isinstance(error, ThingSpaceError):
        return str(error)
    # The message of an unexpected error may quote a secret, so only its type is printed.
    [frame] = traceback.extract_tb(error.__traceback__, limit=-1)  # an explicit limit overrides sys.tracebacklimit
    return (
        f"unexpected {type(error).__name__} in {os.path.basename(frame.filename)} line {frame.lineno}. "  # noqa: PTH119
        "This is a bug in thingspace-provider. Set THINGSPACE_DEBUG=1 to print the traceback, which may hold secrets."
    )


def _format_traceback(error: BaseException) -> str:
    """Return the message and the innermost frames, each in half of the space."""
    frames = "".join(traceback.format_tb((error.__cause__ or error).__traceback__))[-MAX_MESSAGE_BYTES // 2 :]
    message = _truncate(f"{type(error).__name__}: {error}", MAX_MESSAGE_BYTES // 2)
    return f"{message}\n{frames}"


def _truncate(text: str, remaining_bytes: int = MAX_MESSAGE_BYTES) -> str:
    """Return the beginning of the text that fits. gRPC sends a non-ASCII byte as three bytes."""
    for position, character in enumerate(text):
        remaining_bytes -= 1 if character.isascii() else 3 * len(character.encode(errors="replace"))
        if remaining_bytes < 0:
            return text[:position] + " ..."
    return text


def _log(message: str) -> None:
    """Print one line. The engine shows a provider's standard error in the output of `pulumi up`."""
    with _LOG_LOCK:
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()


@functools.cache
def _raise_concurrency() -> None:
    """Raise the number of concurrent resource operations above the SDK's four, once per process."""
    reason = sdk_thread_pool.raise_max_workers(sdk_thread_pool.read_max_workers(os.environ))
    if reason and os.environ.get("THINGSPACE_DEBUG"):
        _log(f"concurrency limited to the SDK's {sdk_thread_pool.SDK_WORKERS} resource operations: {reason}")


def _from_engine(state: State) -> State:
    """Return the state without the pickle, and with UNKNOWN for Pulumi's unknown values."""
    return {
        key: _replace_unknowns(value, PulumiUnknown, lambda: UNKNOWN)
        for key, value in state.items()
        if key != PROVIDER_KEY
    }


def _to_engine(state: State) -> State:
    """Return the state with Pulumi's unknown values for UNKNOWN."""
    return {key: _replace_unknowns(value, Unknown, PulumiUnknown) for key, value in state.items()}


def _mark_secret(state: State, secrets: Collection[str]) -> State:
    """Return the state with some values marked as secrets. Output.secret cannot: it needs an event loop."""
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
    """Pickled by name: never move or rename."""

    lifecycle = ActivationLifecycle()


class CallbackRegistrationProvider(_LifecycleProvider):
    """Pickled by name: never move or rename."""

    lifecycle = RegistrationLifecycle()


class CallbackCredentialProvider(_LifecycleProvider):
    """Pickled by name: never move or rename."""

    lifecycle = CredentialLifecycle()


class LocalListenerProvider(_LifecycleProvider):
    """Pickled by name: never move or rename."""

    lifecycle = LocalListenerLifecycle()
