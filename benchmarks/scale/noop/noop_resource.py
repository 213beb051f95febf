"""Dynamic resource without any function. This module exists so that the provider is pickled by name."""

from typing import Any

from pulumi import dynamic


class NoopProvider(dynamic.ResourceProvider):
    """Provider that only returns its inputs."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        """Return the inputs as outputs."""
        return dynamic.CreateResult(props["accountName"], props)


class Noop(dynamic.Resource, module="scale", name="Noop"):
    """Resource without any function."""

    def __init__(self, name: str, account: str) -> None:
        super().__init__(NoopProvider(), name, {"accountName": account})
