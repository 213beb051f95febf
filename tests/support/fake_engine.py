"""Minimal engine that starts `python -m pulumi.dynamic` of the SDK and calls it over gRPC, as Pulumi does."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import Any

import grpc
from google.protobuf import json_format, struct_pb2
from pulumi.dynamic import ResourceProvider
from pulumi.dynamic.dynamic import serialize_provider
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from tests.support.waiting import time_limit
from thingspace_provider import providers

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # represents an unknown value in the protocol


def strip_exception_prefix(details: str) -> str:
    """Remove the prefix of the SDK: the class of the exception, or gRPC's text in older versions."""
    for prefix in ("ThingSpace: ", "Exception calling application: "):
        if details.startswith(prefix):
            return details.removeprefix(prefix)
    raise AssertionError(f"neither the class nor gRPC's words come first: {details}")


def pickle_provider(resource: str | type[ResourceProvider]) -> str:
    """Pickle a provider as in the state: one of this project by the resource's name, or a class of a test."""
    provider = getattr(providers, f"{resource}Provider") if isinstance(resource, str) else resource
    return str(serialize_provider(provider()))


class Engine:
    """Client of the resource provider protocol."""

    def __init__(self, port: int, config: dict[str, str]) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._stub = provider_pb2_grpc.ResourceProviderStub(self._channel)
        self._stub.Configure(provider_pb2.ConfigureRequest(args=_to_struct(config)), timeout=20)

    def check(
        self, resource: str, news: dict[str, Any], seconds: float = 20
    ) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        response = self._stub.Check(provider_pb2.CheckRequest(news=_to_properties(resource, news)), timeout=seconds)
        return _to_dict(response.inputs), [(failure.property, failure.reason) for failure in response.failures]

    def diff(self, resource: str, olds: dict[str, Any], news: dict[str, Any]) -> Any:
        return self._stub.Diff(
            provider_pb2.DiffRequest(id="x", olds=_to_properties(resource, olds), news=_to_properties(resource, news)),
            timeout=20,
        )

    def create(self, resource: str | type[ResourceProvider], inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        response = self._stub.Create(
            provider_pb2.CreateRequest(properties=_to_properties(resource, inputs)), timeout=60
        )
        return response.id, _to_dict(response.properties)

    def read(self, resource: str, id_: str, outputs: dict[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
        response = self._stub.Read(
            provider_pb2.ReadRequest(id=id_, properties=_to_properties(resource, outputs)), timeout=60
        )
        return response.id, _to_dict(response.properties), _to_dict(response.inputs)

    def update(self, resource: str, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
        request = provider_pb2.UpdateRequest(
            id=id_, olds=_to_properties(resource, olds), news=_to_properties(resource, news)
        )
        return _to_dict(self._stub.Update(request, timeout=60).properties)

    def delete(self, resource: str, id_: str, outputs: dict[str, Any]) -> None:
        self._stub.Delete(provider_pb2.DeleteRequest(id=id_, properties=_to_properties(resource, outputs)), timeout=60)

    def close(self) -> None:
        self._channel.close()


def _to_properties(resource: str | type[ResourceProvider], values: dict[str, Any]) -> struct_pb2.Struct:
    return _to_struct({**values, "__provider": pickle_provider(resource)})


def _to_struct(values: dict[str, Any]) -> struct_pb2.Struct:
    return json_format.ParseDict(values, struct_pb2.Struct())


def _to_dict(struct: struct_pb2.Struct) -> dict[str, Any]:
    return {key: value for key, value in json_format.MessageToDict(struct).items() if key != "__provider"}


class Provider:
    """Provider process, which can start with different environments and configurations."""

    def __init__(self) -> None:
        self._running: list[tuple[subprocess.Popen[bytes], Engine]] = []
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  stop closes it

    def start(self, environment: dict[str, str] | None = None, config: dict[str, str] | None = None) -> Engine:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("THINGSPACE_")}
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "pulumi.dynamic", "127.0.0.1:9"],
            env={**inherited, "PULUMI_PROJECT": "test", **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=self._output,
        )
        assert process.stdout is not None
        with time_limit(process):
            port = int(process.stdout.readline())
        engine = Engine(port, config or {})
        self._running.append((process, engine))
        return engine

    def read_output(self) -> str:
        """Return the output of the processes, which `pulumi up` shows."""
        self._output.flush()
        return os.pread(self._output.fileno(), 1 << 20, 0).decode()

    def stop(self) -> None:
        for process, engine in self._running:
            engine.close()
            process.kill()
            process.communicate(timeout=30)
        self._output.close()
