"""Base class of all resources: stable resource types, names in both spellings, and outputs in previews."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeVar

import pulumi
from pulumi import dynamic

from thingspace_provider.lifecycle.validation import account_name_errors

MODULE = "thingspace"
T = TypeVar("T")
_TRACEBACK_LIMIT_LOCK = threading.RLock()  # sys is shared by programs that run in threads of one process


class InvalidArgument(pulumi.RunError):
    """An argument is invalid. Ends the program without a traceback, before the resource is created."""


def reject_import(owner: str, opts: pulumi.ResourceOptions | None) -> None:
    """Raise InvalidArgument for `import_`, which the SDK does not support for dynamic resources."""
    if opts is not None and opts.import_ is not None:
        raise InvalidArgument(
            f"{owner}: the option import_ does not work; to take over an existing registration, set adopt=True instead"
        )


def check_account_names(owner: str, names: object) -> None:
    """Raise InvalidArgument unless these are different account names. An output is checked when it is known."""
    if isinstance(names, pulumi.Output):
        return
    if isinstance(names, str) or not isinstance(names, Sequence):
        reason = 'must be a list, for example ["0000123456-00001"]'
    elif failures := [failure.reason for name in names for failure in account_name_errors("", name)]:
        reason = failures[0]
    elif repeated := [name for name in names if names.count(name) > 1]:
        reason = f"names {repeated[0]} more than once"
    else:
        return
    raise InvalidArgument(f"{owner}: account_names: {reason}")


def to_camel_case(name: str) -> str:
    """Convert a Python name to the state's spelling: `account_name` becomes `accountName`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def to_snake_case(key: str) -> str:
    """Convert the state's spelling to a Python name: `accountName` becomes `account_name`."""
    return re.sub(r"[A-Z]", lambda capital: f"_{capital[0].lower()}", key)


class Resource(dynamic.Resource, module=MODULE, name="Resource"):
    """A dynamic resource of type `pulumi-python:dynamic/thingspace:<name>`.

    A user's subclass keeps the type of its parent. The SDK would give it another type, and the next update would
    replace the resource.

    With hundreds of accounts, a program spends its time in the SDK's work on each property. So inputs that are not set
    are omitted. Resource types with one resource per account annotate their attributes for type checkers only, because
    the SDK evaluates annotations once per resource.
    """

    _names: ClassVar[dict[str, str]] = {}  # Python name -> key in the state

    def __init_subclass__(cls, module: str = "", name: str = "", **kwargs: Any) -> None:
        """Set the resource type of the class: its own, or that of its parent if it has none."""
        inherited = cls._resource_type_name
        super().__init_subclass__(module=module or MODULE, name=name or "Resource", **kwargs)
        if not name:
            cls._resource_type_name = inherited

    def __init__(
        self,
        provider: dynamic.ResourceProvider,
        name: str,
        inputs: dict[str, Any],
        outputs: Sequence[str],
        opts: pulumi.ResourceOptions | None = None,
        secret_outputs: Sequence[str] = (),
    ) -> None:
        reject_import(type(self).__name__, opts)
        type(self)._names = {key: to_camel_case(key) for key in (*inputs, *outputs)}  # noqa: SLF001  the same for all instances
        # The SDK makes attributes of these keys only. None makes an output unknown in a preview.
        props = dict.fromkeys(outputs) | {key: value for key, value in inputs.items() if value is not None}
        if secret_outputs:
            own = pulumi.ResourceOptions(additional_secret_outputs=list(secret_outputs))
            opts = pulumi.ResourceOptions.merge(own, opts)
        with _omit_stack_trace():
            super().__init__(provider, name, props, opts)

    def translate_input_property(self, prop: str) -> str:
        """Convert a Python name to a key in the state."""
        return self._names.get(prop, prop)

    def translate_output_property(self, prop: str) -> str:
        """Convert a key in the state to a Python name."""
        return next((name for name, key in self._names.items() if key == prop), prop)


@contextlib.contextmanager
def _omit_stack_trace() -> Iterator[None]:
    """Prevent the SDK from storing the Python stack of a constructor in the state.

    The stack is more than half of a resource's state and holds paths of this machine. The SDK has no option for it,
    but it reads the stack with `traceback`, which respects `sys.tracebacklimit`.
    """
    with _TRACEBACK_LIMIT_LOCK:
        previous_limit = getattr(sys, "tracebacklimit", None)
        sys.tracebacklimit = 1
        try:
            yield
        finally:
            if previous_limit is None:
                del sys.tracebacklimit
            else:
                sys.tracebacklimit = previous_limit


def as_secret(value: pulumi.Input[T] | None) -> pulumi.Output[T] | None:
    """Return the value as a secret, or None."""
    return None if value is None else pulumi.Output.secret(value)
