"""Addresses of the listener: callbacks on one, admin endpoints on another."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.support.listener_process import (
    API_TOKEN,
    COMMAND,
    ListenerProcess,
    build_settings,
    build_text_callback,
    clean_environment,
)
from thingspace_provider.listener.settings.listener_settings import load_settings

Start = Callable[..., ListenerProcess]
ADMIN_PATHS = ("/", "/healthz", "/readyz", "/metrics", "/v1/messages")
NONCE = {"ThingSpace-Probe": "a-nonce-of-16-ch"}
ANY = "0.0.0.0"  # noqa: S104


def get_status(url: str) -> int:
    return requests.get(url, headers={"Authorization": f"Bearer {API_TOKEN}"}, timeout=10).status_code


def test_admin_endpoints_are_on_their_own_address_when_one_is_set(start: Start) -> None:
    listener = start(adminHost="127.0.0.1", adminPort=0)
    assert listener.url != listener.admin_url
    assert listener.post(build_text_callback("on the public address")).status_code == 200
    assert listener.get(listener.path(), **NONCE).status_code == 200
    assert listener.message_texts() == ["on the public address"]
    assert {path: get_status(listener.admin_url + path) for path in ADMIN_PATHS} == dict.fromkeys(ADMIN_PATHS, 200)
    assert {path: get_status(listener.url + path) for path in ADMIN_PATHS} == dict.fromkeys(ADMIN_PATHS, 404)
    assert get_status(listener.admin_url + listener.path()) == 404
    assert (
        requests.post(listener.admin_url + listener.path(), json=build_text_callback(), timeout=10).status_code == 404
    )
    started = json.loads(listener.log.read_text().splitlines()[0])
    assert (started["url"], started["admin_url"]) == (listener.url, listener.admin_url)
    assert listener.stop() == 0


def test_all_paths_are_on_one_address_when_it_is_loopback_or_set_for_both(start: Start) -> None:
    listener = start()
    assert listener.url == listener.admin_url
    assert {path: get_status(listener.url + path) for path in ADMIN_PATHS} == dict.fromkeys(ADMIN_PATHS, 200)


@pytest.mark.parametrize(
    ("changes", "address", "is_own"),
    [
        ({"host": "127.0.0.1"}, ("127.0.0.1", 28200), False),
        ({"host": "::1", "port": 443}, ("::1", 443), False),
        ({"host": ANY}, ("127.0.0.1", 28280), True),
        ({"host": "::"}, ("127.0.0.1", 28280), True),
        ({"host": "sms.example.com"}, ("127.0.0.1", 28280), True),
        ({"host": ANY, "adminHost": ANY}, (ANY, 28280), True),
        ({"host": ANY, "adminHost": ANY, "adminPort": 28200}, (ANY, 28200), False),
        ({"host": "127.0.0.1", "adminPort": 9000}, ("127.0.0.1", 9000), True),
        ({"host": "127.0.0.1", "port": 0, "adminPort": 0}, ("127.0.0.1", 0), True),
    ],
)
def test_admin_address_is_separate_by_default_unless_the_host_is_loopback(
    tmp_path: Path, changes: dict[str, object], address: tuple[str, int], is_own: bool
) -> None:
    settings = load_settings(None, {}, build_settings(tmp_path, **{"port": None, **changes}))
    assert (settings.admin_address, settings.has_own_admin_address) == (address, is_own)


def test_start_fails_with_the_address_and_the_option_when_the_admin_port_is_in_use(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = f"Error: cannot listen on 127.0.0.1:{port}: Address already in use. Give another --admin-host or"
        with pytest.raises(AssertionError, match=message):
            start("--admin-port", str(port))


def test_check_reports_both_addresses(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(build_settings(tmp_path, host=ANY, adminPort=0)))
    command = [*COMMAND, "--settings", str(file), "--check", "--json"]
    ended = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=20, check=True)
    summary = json.loads(ended.stdout)
    assert [summary[key] for key in ("host", "port", "adminHost", "adminPort")] == [ANY, 0, "127.0.0.1", 0]


def test_ipv4_and_ipv6_clients_are_accepted_when_the_host_is_the_ipv6_wildcard(start: Start) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    listener = start(host="::", adminPort=0, sourceAddressPolicy="enforce", allowedSourceAddresses=["127.0.0.1", "::1"])
    for host in ("127.0.0.1", "[::1]"):
        url = f"http://{host}:{listener.port}{listener.path()}"
        assert requests.post(url, json=build_text_callback(f"from {host}"), timeout=10).status_code == 200
    assert listener.message_texts() == ["from 127.0.0.1", "from [::1]"]
