"""A world for the lifecycle's tests."""

from __future__ import annotations

import pytest

from tests.support.lifecycle_harness import World
from thingspace_provider.api import Client


@pytest.fixture
def world(thingspace: Client) -> World:
    """A context with a real client of the emulator."""
    return World(thingspace)
