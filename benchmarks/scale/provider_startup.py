"""Start time of a provider process."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import grpc
from google.protobuf import json_format, struct_pb2
from pulumi.dynamic.dynamic import serialize_provider
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from thingspace_provider.providers import SmsCallbackActivationProvider

INPUTS = {"__provider": serialize_provider(SmsCallbackActivationProvider()), "accountName": "0000123456-00001"}


def measure_empty() -> float:
    """Return the seconds until `python -m pulumi.dynamic` prints its port."""
    began = time.perf_counter()
    process, _ = _start()
    taken = time.perf_counter() - began
    _end(process)
    return taken


def measure_provider() -> float:
    """Return the seconds until the process has loaded the provider and responded to its first check."""
    began = time.perf_counter()
    process, port = _start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = provider_pb2_grpc.ResourceProviderStub(channel)
        stub.Configure(provider_pb2.ConfigureRequest(), timeout=30)
        news = json_format.ParseDict(INPUTS, struct_pb2.Struct())
        stub.Check(provider_pb2.CheckRequest(news=news), timeout=30)
    taken = time.perf_counter() - began
    _end(process)
    return taken


def _start() -> tuple[subprocess.Popen[bytes], int]:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "pulumi.dynamic", "127.0.0.1:9"],
        env={**os.environ, "PULUMI_PROJECT": "benchmark"},
        stdout=subprocess.PIPE,
    )
    return process, int((process.stdout or sys.stdin.buffer).readline())


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()
