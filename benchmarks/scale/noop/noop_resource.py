"""The least that a dynamic resource can be; in a module of its own, so that its provider is pickled by name."""

from typing import Any

from pulumi import dynamic


class NoopProvider(dynamic.ResourceProvider):
    """Makes nothing."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        """Say that it is there."""
        return dynamic.CreateResult(props["accountName"], props)


class Noop(dynamic.Resource, module="scale", name="Nothing"):
    """Is nothing."""

    def __init__(self, name: str, account: str) -> None:
        super().__init__(NoopProvider(), name, {"accountName": account})
