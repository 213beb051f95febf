"""Fixtures of the lifecycle tests."""

from __future__ import annotations

import pytest

from tests.support.lifecycle_harness import LifecycleHarness
from thingspace_provider.api import ThingSpaceClient


@pytest.fixture
def harness(thingspace: ThingSpaceClient) -> LifecycleHarness:
    """A context with a real client of the emulator."""
    return LifecycleHarness(thingspace)
