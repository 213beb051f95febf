"""What all resources have in common: a type that subclasses keep, names in both spellings, honest previews."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeVar

import pulumi
from pulumi import dynamic

MODULE = "thingspace"
T = TypeVar("T")
_TRACEBACK_LIMIT_LOCK = threading.RLock()  # programs that run side by side in threads share sys


def to_camel_case(name: str) -> str:
    """The spelling of a name in the state: `account_name` is `accountName`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class Resource(dynamic.Resource, module=MODULE, name="Resource"):
    """A dynamic resource of type `pulumi-python:dynamic/thingspace:<name>`.

    A subclass that a user derives keeps its parent's type: the SDK would silently give it another one, and the next
    update would replace the resource.

    With hundreds of accounts, a program's time is the SDK's work on each property. So an input that is not given is
    left out; and where there is one resource for each account, attributes are annotated for type checkers alone,
    because the SDK evaluates annotations once for every resource, and has no use for ours.
    """

    _names: ClassVar[dict[str, str]] = {}  # property in Python -> key in the state

    def __init_subclass__(cls, module: str = "", name: str = "", **kwargs: Any) -> None:
        """Give the class its type, or its parent's when it names none."""
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
        type(self)._names = {key: to_camel_case(key) for key in (*inputs, *outputs)}  # noqa: SLF001  the same for every instance
        # None makes an output unknown in a preview; without its key it would never become an attribute.
        props = dict.fromkeys(outputs) | {key: value for key, value in inputs.items() if value is not None}
        if secret_outputs:
            own = pulumi.ResourceOptions(additional_secret_outputs=list(secret_outputs))
            opts = pulumi.ResourceOptions.merge(own, opts)
        with _omit_stack_trace():
            super().__init__(provider, name, props, opts)

    def translate_input_property(self, prop: str) -> str:
        """Python's spelling to the state's."""
        return self._names.get(prop, prop)

    def translate_output_property(self, prop: str) -> str:
        """The state's spelling to Python's."""
        return next((name for name, key in self._names.items() if key == prop), prop)


@contextlib.contextmanager
def _omit_stack_trace() -> Iterator[None]:
    """Keep the SDK from storing the Python stack of a constructor with its resource.

    That would be more than half of the state: a dozen paths of this machine, the first of them in this file. The SDK
    has no switch for it, but like everything that reads stacks it keeps to `sys.tracebacklimit`.
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
    """The value as a secret; what is not given stays so."""
    return None if value is None else pulumi.Output.secret(value)
