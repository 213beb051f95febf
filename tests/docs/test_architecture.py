"""ARCHITECTURE.md describes the layers that the import contracts enforce and that the code has."""

from __future__ import annotations

import itertools
import re
import sys
import traceback
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest

from tests.support.fake_transport import ACCOUNTS, CREDENTIALS, FakeTransport
from tests.support.lifecycle_harness import LifecycleHarness
from thingspace_provider.api import ThingSpaceClient
from thingspace_provider.api.transport import HttpResponse
from thingspace_provider.lifecycle.activation import ActivationLifecycle

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOP = Path(__file__).resolve().parent.parent.parent
TEXT = (TOP / "ARCHITECTURE.md").read_text(encoding="utf-8")
PACKAGE = "thingspace_provider"
CONTRACTS: dict[str, dict[str, Any]] = {
    contract["id"]: contract
    for contract in tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
}
LAYERS: list[str] = CONTRACTS["layers"]["layers"][:0:-1]  # lowest first; without __main__, which calls cli
ROWS = {
    cells[0].strip("`"): cells[1:]
    for line in TEXT.partition("| Layer | Imports |")[2].partition("\n\n")[0].splitlines()[2:]
    for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
}


def test_table_has_the_layers_of_the_contract_in_their_order() -> None:
    servers = CONTRACTS["layers"]["exhaustive_ignores"]
    assert [*LAYERS, *sorted(servers, reverse=True)] == list(ROWS)


@pytest.mark.parametrize("layer", [layer for layer in ROWS if layer != "cli"])
def test_code_imports_only_the_layers_of_the_imports_column(layer: str) -> None:
    assert _imported_layers(layer) <= set(re.findall(r"`(\w+)`", ROWS[layer][0]))


@pytest.mark.parametrize("layer", [layer for layer in ROWS if layer != "cli"])
def test_contracts_forbid_what_the_last_column_forbids(layer: str) -> None:
    never = ROWS[layer][1]
    assert "every other layer" in never
    unnamed = set(ROWS) - {layer} - set(re.findall(r"`(\w+)`", ROWS[layer][0]))
    assert {other for other in unnamed if not _is_forbidden(layer, f"{PACKAGE}.{other}")} <= _below(layer)
    for package in re.findall(r"`(pulumi|requests)`", never):
        assert _is_forbidden(layer, package), package


def test_listener_and_emulator_have_the_layers_of_their_contracts() -> None:
    for server, beginning in (("listener", "    model,"), ("emulator", "`platform <-")):
        chain = TEXT[TEXT.index(beginning) :].replace("\n        ", " ")
        chain = re.split(r"[`\n]", chain.strip("` "))[0]
        described = [{name.strip() for name in step.split(",")} for step in chain.split("<-")]
        contract = CONTRACTS[f"{server}-layers"]["layers"][::-1]
        assert described == [set(re.findall(r"\w+", layer)) for layer in contract]


@pytest.mark.parametrize("heading", ["From an account name to the call", "From a callback to a Kafka record"])
def test_path_goes_down_through_at_most_eight_modules(heading: str) -> None:
    section = TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    for part in re.split(r"\n[A-Z][^\n]*\n", section):
        modules = re.findall(r"^\d+\. `(\S+\.py)`", part, flags=re.MULTILINE)
        assert all((TOP / module).is_file() for module in modules)
        depths = [_depth(module) for module in modules]
        assert depths == sorted(depths)
    assert len(re.findall(r"^\d+\. ", section, flags=re.MULTILINE)) <= 8


def test_start_callbacks_passes_the_documented_modules_without_calls_upwards() -> None:
    stacks: list[list[str]] = []

    class RecordingTransport(FakeTransport):
        def send(self, method: str, *arguments: Any) -> HttpResponse:
            files = [Path(frame.filename) for frame in traceback.extract_stack()]
            stacks.append([str(file.relative_to(TOP)) for file in files if file.is_relative_to(TOP / PACKAGE)])
            return super().send(method, *arguments)

    harness = LifecycleHarness(ThingSpaceClient(CREDENTIALS, RecordingTransport()))
    ActivationLifecycle().create(harness.context, {"accountName": ACCOUNTS[0]})
    passed = [module for module, _ in itertools.groupby(stacks[-1])]
    section = TEXT.partition("## From an account name to the call\n")[2].partition("\n## ")[0]
    documented = re.findall(r"^\d+\. `(\S+\.py)`", section, flags=re.MULTILINE)
    assert passed == documented[-3:]


def _depth(path: str) -> int:
    """How far below the top of its contract a module is."""
    parts = path.removesuffix(".py").split("/")[1:]
    if not parts:
        return -1
    if parts[0] == "listener":
        layers = CONTRACTS["listener-layers"]["layers"]
        return next(depth for depth, layer in enumerate(layers) if parts[1] in re.findall(r"\w+", layer))
    return len(LAYERS) - LAYERS.index(parts[0])


def _below(layer: str) -> set[str]:
    """The layers that the contract permits a layer to import."""
    return set(LAYERS[: LAYERS.index(layer)]) if layer in LAYERS else set()


def _is_forbidden(layer: str, module: str) -> bool:
    source, name = f"{PACKAGE}.{layer}", module.removeprefix(f"{PACKAGE}.")
    if layer in LAYERS and name in LAYERS and LAYERS.index(name) > LAYERS.index(layer):
        return True
    return any(
        source in contract.get("source_modules", ()) and module in contract["forbidden_modules"]
        for contract in CONTRACTS.values()
    )


@cache
def _graph() -> grimp.ImportGraph:
    return grimp.build_graph(PACKAGE, cache_dir=None)


def _imported_layers(layer: str) -> set[str]:
    graph, root = _graph(), f"{PACKAGE}.{layer}"
    imported = {
        target.split(".")[1]
        for module in (root, *graph.find_descendants(root))
        for target in graph.find_modules_directly_imported_by(module)
        if "." in target and f"{module} -> {target}" not in CONTRACTS["layers"].get("ignore_imports", ())
    }
    return imported - {layer}
