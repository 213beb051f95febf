"""Provider processes for the contract tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fake_engine import Engine, Provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    started = Provider()
    yield started
    started.stop()


@pytest.fixture
def engine(provider: Provider) -> Engine:
    """A provider process without credentials."""
    return provider.start()
