"""Fixtures for anybody's tests against ThingSpace; they come with the package, and cost nothing until used.

`thingspace_emulator` is an emulator of the test's own, `start_thingspace_emulator` starts further ones from a
scenario, `thingspace_listener` is a listener that the emulator can reach under an address ThingSpace accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from thingspace_provider.emulator.testing.client import EmulatorClient
    from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener

LISTENER_NAME = "listener.example.net"
LISTENER_URL = f"http://{LISTENER_NAME}/callbacks"


@pytest.fixture
def start_thingspace_emulator() -> Iterator[Callable[..., EmulatorClient]]:
    """Start an emulator: `start_thingspace_emulator({"accounts": ["0000123456-00001"]})`; it ends with the test.

    The argument is a scenario as in a scenario file; without one there are three accounts with two devices each.
    """
    with ExitStack() as stack:

        def start(scenario: Any = None) -> EmulatorClient:
            try:
                from thingspace_provider.emulator.runtime.scenario import parse_scenario as read  # noqa: PLC0415
                from thingspace_provider.emulator.runtime.server import EmulatorThread  # noqa: PLC0415
                from thingspace_provider.emulator.testing.client import EmulatorClient  # noqa: PLC0415 - only when it is used
            except ModuleNotFoundError as error:
                pytest.fail(f"the emulator needs {error.name}: pip install 'thingspace-provider[emulator]'")
            emulator = stack.enter_context(EmulatorThread(read(scenario)))
            return EmulatorClient(emulator.root)

        yield start


@pytest.fixture
def thingspace_emulator(start_thingspace_emulator: Callable[..., EmulatorClient]) -> EmulatorClient:
    """An emulator with the default accounts: `url`, credentials, and a method for everything a test can do to it."""
    return start_thingspace_emulator()


@pytest.fixture
def thingspace_listener(thingspace_emulator: EmulatorClient) -> Iterator[ScriptedListener]:
    """A listener of the test's own; register its `registered_url` to have it called."""
    from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener  # noqa: PLC0415 - only when it is used

    with ScriptedListener() as listener:
        listener.registered_url = LISTENER_URL
        thingspace_emulator.resolve({f"{LISTENER_NAME}:80": f"127.0.0.1:{listener.port}"})
        yield listener
