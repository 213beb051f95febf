"""Pytest plugin with fixtures for tests against ThingSpace. It imports the emulator only when a fixture is used.

- `thingspace_emulator`: an emulator for one test.
- `start_thingspace_emulator`: starts further ones from a scenario.
- `thingspace_listener`: a listener that the emulator reaches at a URL that ThingSpace accepts.
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
    """Start emulators that stop with the test: `start_thingspace_emulator({"accounts": ["0000123456-00001"]})`.

    The argument is a scenario. Without one there are three accounts with two devices each.
    """
    with ExitStack() as stack:

        def start(scenario: Any = None) -> EmulatorClient:
            try:
                from thingspace_provider.emulator.runtime.scenario import parse_scenario  # noqa: PLC0415
                from thingspace_provider.emulator.runtime.server import EmulatorThread  # noqa: PLC0415
                from thingspace_provider.emulator.testing.client import EmulatorClient  # noqa: PLC0415 - imported when used
            except ModuleNotFoundError as error:
                pytest.fail(
                    f"the emulator needs the package {error.name}. "
                    "Install the extra in a clone: pip install -e '.[emulator]'"
                )
            emulator = stack.enter_context(EmulatorThread(parse_scenario(scenario)))
            return EmulatorClient(emulator.root)

        yield start


@pytest.fixture
def thingspace_emulator(start_thingspace_emulator: Callable[..., EmulatorClient]) -> EmulatorClient:
    """An emulator with the default accounts."""
    return start_thingspace_emulator()


@pytest.fixture
def thingspace_listener(thingspace_emulator: EmulatorClient) -> Iterator[ScriptedListener]:
    """A listener. Register its `registered_url` to receive callbacks."""
    from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener  # noqa: PLC0415 - imported when used

    with ScriptedListener() as listener:
        listener.registered_url = LISTENER_URL
        thingspace_emulator.resolve({f"{LISTENER_NAME}:80": f"127.0.0.1:{listener.port}"})
        yield listener
