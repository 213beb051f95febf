"""Readiness probe of a callback URL: one challenge and response before a registration.

The probe is imported when it is first used, because HTTP takes longer to load than everything else here.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thingspace_provider.readiness.probe import ReadinessProbe

__all__ = ["ReadinessProbe"]


def __getattr__(name: str) -> Any:
    if name != "ReadinessProbe":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from thingspace_provider.readiness import probe  # noqa: PLC0415

    return probe.ReadinessProbe
