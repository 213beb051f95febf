"""The policy pack in its own process, with the calls of the engine."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from tests.support.pulumi_project import TOP, TYPE
from tests.support.waiting import time_limit

if TYPE_CHECKING:
    from typing_extensions import Self

PACK = TOP / "policy"
STATE = TOP / "tests" / "providers" / "states" / "0.1.0-two-accounts-rotated.json"
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270"}
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # the engine's mark for a string that a preview does not know
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Violation:
    """A violation as the engine shows it."""

    policy: str
    level: str
    message: str
    resource: str

    @property
    def finding(self) -> str:
        """The line between the description and the reason."""
        return self.message.splitlines()[1]


@dataclass
class StackResource:
    """A resource of a stack. Secrets are marked as in the engine's calls."""

    urn: str
    type: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    protect: bool = False
    parent: str = ""

    @property
    def name(self) -> str:
        return self.urn.rpartition("::")[2]

    def set(self, key: str, value: Any) -> None:
        """Set an input and the output of this name."""
        self.inputs[key] = self.outputs[key] = value

    def remove(self, key: str) -> None:
        """Remove an input and the output of this name."""
        for properties in (self.inputs, self.outputs):
            properties.pop(key, None)


@dataclass
class Stack:
    """Resources of a stack."""

    resources: list[StackResource] = field(default_factory=list)

    @classmethod
    def load(cls, stack: str = "dev") -> Self:
        """Return the stack that the real engine made from the real program, under another stack name."""
        text = STATE.read_text().replace("urn:pulumi:dev::", f"urn:pulumi:{stack}::")
        listed = json.loads(text)["deployment"]["resources"]
        return cls([_resource(item) for item in listed])

    @classmethod
    def load_production(cls) -> Self:
        """Return that stack with a public listener and protected registrations, so that it breaks no rule in prod."""
        stack = cls.load("prod")
        stack.remove("LocalListener")
        for resource in stack.of("CallbackRegistration"):
            resource.protect = True
            resource.set("url", secret(f"https://sms.example.com/callbacks/token/{resource.inputs['accountName']}"))
        return stack

    def of(self, kind: str) -> list[StackResource]:
        """Return the resources of a type of the provider, or of a whole type name."""
        return [resource for resource in self.resources if resource.type in (kind, TYPE + kind)]

    def remove(self, kind: str) -> None:
        self.resources = [resource for resource in self.resources if resource not in self.of(kind)]

    def add(self, urn: str, kind: str, properties: dict[str, Any]) -> StackResource:
        resource = StackResource(urn, kind, properties, dict(properties))
        self.resources.append(resource)
        return resource

    def copy(self, resource: StackResource, name: str) -> StackResource:
        """Add a copy of a resource under another name."""
        copied = copy.deepcopy(resource)
        copied.urn = f"{resource.urn.rpartition('::')[0]}::{name}"
        self.resources.append(copied)
        return copied


class PolicyPack:
    """Process of the policy pack, started as the engine starts it.

    Args:
        folder: Working directory, the folder of the program.
        arguments: Of Python, if not those of the current language host.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-u", *(arguments or (str(PACK), "127.0.0.1:9"))]
        self._process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        with time_limit(self._process):
            port = int(self._process.stdout.readline())
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._stub = analyzer_pb2_grpc.AnalyzerStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()
        self._process.kill()
        self._process.communicate(timeout=TIMEOUT_SECONDS)

    def info(self) -> Any:
        """Return the name of the pack and its policies."""
        return self._call("GetAnalyzerInfo", empty_pb2.Empty())

    def configure(self, **options: dict[str, Any]) -> None:
        """Configure all policies as the engine does: defaults, then the options by policy name with `_` for `-`."""
        request = analyzer_pb2.ConfigureAnalyzerRequest()
        for policy in self.info().policies:
            config = request.policyConfig[policy.name]
            config.enforcementLevel = policy.enforcementLevel
            for key, schema in policy.configSchema.properties.items():
                config.properties[key] = schema["default"]
            for key, value in options.get(policy.name.replace("-", "_"), {}).items():
                if key == "enforcementLevel":
                    config.enforcementLevel = analyzer_pb2.EnforcementLevel.Value(value)
                else:
                    config.properties[key] = value
        self._call("Configure", request)

    def analyze(self, stack: Stack) -> list[Violation]:
        """Return the violations of a stack, in the order of the engine's calls: each resource, then the stack."""
        violations = []
        for resource in stack.resources:
            response = self._call(
                "Analyze",
                analyzer_pb2.AnalyzeRequest(
                    urn=resource.urn,
                    type=resource.type,
                    name=resource.name,
                    properties=resource.inputs,
                    options=_options(resource),
                ),
            )
            violations += [_violation(item, resource.urn) for item in response.diagnostics]
        request = analyzer_pb2.AnalyzeStackRequest(
            resources=[
                analyzer_pb2.AnalyzerResource(
                    urn=resource.urn,
                    type=resource.type,
                    name=resource.name,
                    properties=resource.outputs,
                    options=_options(resource),
                    parent=resource.parent,
                )
                for resource in stack.resources
            ]
        )
        return violations + [_violation(item) for item in self._call("AnalyzeStack", request).diagnostics]

    def _call(self, method: str, request: Any) -> Any:
        call: Callable[..., Any] = getattr(self._stub, method)
        return call(request, timeout=TIMEOUT_SECONDS)


def secret(value: Any) -> dict[str, Any]:
    """Return a value as the engine marks a secret."""
    return {**SECRET, "value": value}


def _options(resource: StackResource) -> Any:
    return analyzer_pb2.AnalyzerResourceOptions(protect=resource.protect, parent=resource.parent)


def _violation(diagnostic: Any, urn: str = "") -> Violation:
    level = analyzer_pb2.EnforcementLevel.Name(diagnostic.enforcementLevel)
    where = (diagnostic.urn or urn).rpartition("::")[2]
    return Violation(diagnostic.policyName, level, diagnostic.message, where)


def _resource(item: Mapping[str, Any]) -> StackResource:
    return StackResource(
        item["urn"],
        item["type"],
        _properties(item.get("inputs", {})),
        _properties(item.get("outputs", {})),
        item.get("protect", False),
        item.get("parent", ""),
    )


def _properties(value: Any) -> Any:
    """Convert exported properties: mark secrets as in a call, and omit internal keys as the engine does."""
    if isinstance(value, Mapping):
        if SIGNATURE in value:
            return secret(json.loads(value["plaintext"]))
        return {key: _properties(item) for key, item in value.items() if not key.startswith("__")}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_properties(item) for item in value]
    return value
