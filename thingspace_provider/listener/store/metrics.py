"""Metrics of the store's disk."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge

from thingspace_provider.listener.store.disk_space import DiskSpace


class DiskMetrics:
    """Free and required space of the disk of a store on this machine."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._free = Gauge("thingspace_store_disk_free_bytes", "Free space of the store's disk.", registry=registry)
        self._required = Gauge(
            "thingspace_store_disk_required_bytes",
            "Free space below which the listener is not ready.",
            registry=registry,
        )

    def record(self, space: DiskSpace) -> None:
        """Set the gauges."""
        self._free.set(space.free)
        self._required.set(space.required)
