"""A client of a fake transport. Tests of the HTTP connection use the fixtures of the emulator."""

from __future__ import annotations

import pytest

from tests.support.fake_transport import CREDENTIALS, FakeTransport
from thingspace_provider.api import Credentials, ThingSpaceClient


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def user() -> Credentials:
    """The ThingSpace user that the fake transport knows."""
    return CREDENTIALS


@pytest.fixture
def client(user: Credentials, transport: FakeTransport) -> ThingSpaceClient:
    """A client of the fake transport with a login of its own."""
    return ThingSpaceClient(user, transport)
