"""Readiness probe of a callback URL: one challenge and response before a registration.

The probe is imported at its first use, because its HTTP libraries take longer to load than all other modules.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thingspace_provider.readiness.probe import ReadinessProbe

__all__ = ["ReadinessProbe"]


def __getattr__(name: str) -> Any:
    if name != "ReadinessProbe":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from thingspace_provider.readiness import probe  # noqa: PLC0415  at its first use

    return probe.ReadinessProbe
