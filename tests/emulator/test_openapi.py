from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode, checks

from tests.support.raw_api_client import ACCOUNT, RawApiClient
from thingspace_provider.emulator.api.routes import ROUTES
from thingspace_provider.emulator.control import control_openapi
from thingspace_provider.emulator.emulator import EmulatorConfig
from thingspace_provider.emulator.runtime.server import EmulatorThread

CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
EXAMPLES = settings(
    max_examples=15,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
CONTROL = [
    *(("GET", name) for name in ("connection", "queue", "journal", "faults", "clock", "switches", "state", "accounts")),
    *(("GET", name) for name in ("devices", "users", "outbound-messages", "archive", "idle", "resolve")),
    *(("GET", name) for name in ("events", "summary")),
    *(("POST", name) for name in ("users/lock", "listeners/drop", "listeners/restore")),
    *(("POST", name) for name in ("messages", "faults", "clock", "accounts", "devices", "users/unlock", "reset")),
    *(("PUT", name) for name in ("switches", "state", "resolve")),
    *(("DELETE", name) for name in ("journal", "queue", "faults", "faults/{number}")),
    *(("GET", name) for name in ("openapi.json", "thingspace.openapi.json")),
    ("POST", "archive/resend"),
]


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[EmulatorThread]:
    """Emulator with a frozen clock, so that no generated callback is sent."""
    with EmulatorThread(EmulatorConfig(switches={"emptyCallbackList": "array"}, frozen=True)) as running:
        yield running


def explore(document: dict[str, Any], path: str, method: str, **arguments: Any) -> None:
    """Send valid and invalid requests. Every response must be one of the document."""
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=document["servers"][0]["url"])
    operation = schema[path][method]
    modes = list(GenerationMode) if operation.body or operation.query else [GenerationMode.POSITIVE]
    for mode in modes:

        @EXAMPLES
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Any) -> None:
            response = case.call(**arguments)
            case.validate_response(response, checks=CHECKS)

        send()


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation)
def test_every_response_of_the_emulated_api_is_in_its_document(fuzzed: EmulatorThread, route: Any) -> None:
    client = RawApiClient(fuzzed.url)
    client.control("POST", "reset")
    client.log_in()
    client.send_message("x", ACCOUNT)
    document = client.control("GET", "thingspace.openapi.json").json()
    headers = {"Authorization": f"Bearer {client.access_token}", "VZ-M2M-Token": str(client.session)}
    if route.operation in {"token", "revoke"}:
        headers = {"Authorization": "Basic ZW11bGF0b3ItYXBwLWtleTplbXVsYXRvci1hcHAtc2VjcmV0"}
    document["paths"][route.path][route.method.lower()]["security"] = []
    for parameter in document["paths"][route.path][route.method.lower()]["parameters"]:
        if parameter["name"] == "account":
            parameter["schema"] = {"enum": [ACCOUNT, "0000000000-00009"]}
    before = len(client.fetch_journal()["calls"])
    explore(document, route.path, route.method, headers=headers)
    assert {call["operation"] for call in client.fetch_journal()["calls"][before:]} >= {route.operation}


@pytest.mark.parametrize(("method", "name"), CONTROL)
def test_every_response_of_the_control_api_is_in_its_document(fuzzed: EmulatorThread, method: str, name: str) -> None:
    client = RawApiClient(fuzzed.url)
    client.control("POST", "reset")
    document = client.control("GET", "openapi.json").json()
    explore(document, f"/_emulator/{name}", method)
    assert client.control("POST", "reset").status == 200


def test_the_document_of_the_control_api_is_complete(fuzzed: EmulatorThread) -> None:
    document = RawApiClient(fuzzed.url).control("GET", "openapi.json").json()
    described = {
        (method.upper(), path.removeprefix("/_emulator/"))
        for path, methods in document["paths"].items()
        for method in methods
    }
    assert described == set(CONTROL)
    assert all(operation["summary"] for methods in document["paths"].values() for operation in methods.values())
    assert set(control_openapi.RESPONSES) <= described


def test_the_document_of_the_control_api_has_the_enforced_limit(fuzzed: EmulatorThread) -> None:
    client = RawApiClient(fuzzed.url)
    client.control("POST", "reset")
    schema = client.control("GET", "openapi.json").json()["components"]["schemas"]["SendMessageRequest"]
    limit = schema["properties"]["repeat"]["maximum"]
    body = {"accountName": ACCOUNT, "message": "x"}
    assert client.control("POST", "messages", {**body, "repeat": limit}).status == 202
    assert client.control("POST", "messages", {**body, "repeat": limit + 1}).status == 400


def test_the_document_of_the_emulated_api_has_every_operation(fuzzed: EmulatorThread) -> None:
    document = RawApiClient(fuzzed.url).control("GET", "thingspace.openapi.json").json()
    assert document["servers"] == [{"url": fuzzed.url}]
    assert {operation["operationId"] for methods in document["paths"].values() for operation in methods.values()} == {
        route.operation for route in ROUTES
    }
