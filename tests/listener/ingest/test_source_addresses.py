"""Source addresses: behind proxies, counted, and rejected with the policy enforce."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.emulator_process import EmulatorProcess
from tests.support.listener_process import ListenerProcess, build_text_callback
from tests.support.recovery_harness import build_recovery_settings, has_all_messages, register
from tests.support.waiting import wait_until
from thingspace_provider.api import ThingSpaceClient
from thingspace_provider.listener.ingest.settings import PUBLISHED_ADDRESSES, parse_network
from thingspace_provider.listener.ingest.source_addresses import SourceAddressPolicy
from thingspace_provider.listener.setting_types import InvalidValue
from thingspace_provider.listener.store.disk_space import MinFreeDiskSpace, parse_disk_space

Start = Callable[..., ListenerProcess]
THINGSPACE_ADDRESS, UNEXPECTED_ADDRESS = PUBLISHED_ADDRESSES[0], "203.0.113.9"


def build_policy(hops: int = 0, addresses: tuple[str, ...] = PUBLISHED_ADDRESSES) -> SourceAddressPolicy:
    return SourceAddressPolicy("enforce", tuple(map(parse_network, addresses)), hops)


def build_request(*forwarded: str, peer: str = "10.0.0.1") -> dict[str, object]:
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    return {"client": (peer, 1234), "headers": headers}


@pytest.mark.parametrize(
    ("hops", "forwarded", "expected"),
    [
        (0, [], "10.0.0.1"),
        (0, [THINGSPACE_ADDRESS], "10.0.0.1"),  # without a proxy, the client itself writes the header
        (1, [THINGSPACE_ADDRESS], THINGSPACE_ADDRESS),
        (1, [f"{THINGSPACE_ADDRESS}, {UNEXPECTED_ADDRESS}"], UNEXPECTED_ADDRESS),  # the client wrote the first one
        (2, [f"{UNEXPECTED_ADDRESS}, {THINGSPACE_ADDRESS}, 10.0.0.2"], THINGSPACE_ADDRESS),
        (2, [UNEXPECTED_ADDRESS, f"{THINGSPACE_ADDRESS},10.0.0.2"], THINGSPACE_ADDRESS),  # two lines are one list
        (2, [THINGSPACE_ADDRESS], ""),  # it bypassed one of the two
        (1, [], ""),
    ],
)
def test_client_address_is_the_one_that_the_outermost_own_proxy_saw(
    hops: int, forwarded: list[str], expected: str
) -> None:
    assert build_policy(hops).client_address(build_request(*forwarded)) == expected


@given(st.lists(st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=30), max_size=5))
def test_client_cannot_forge_its_address_behind_a_proxy(written: list[str]) -> None:
    lines = [*written, UNEXPECTED_ADDRESS] if written else [UNEXPECTED_ADDRESS]
    seen = build_policy(1).client_address(
        {"headers": [(b"x-forwarded-for", ", ".join(lines).encode("latin-1"))], "client": None}
    )
    assert seen == UNEXPECTED_ADDRESS
    assert not build_policy(1).is_expected(seen)


@pytest.mark.parametrize(
    "written",
    [
        THINGSPACE_ADDRESS,
        f"{THINGSPACE_ADDRESS}:51234",
        f"::ffff:{THINGSPACE_ADDRESS}",
        f"[::ffff:{THINGSPACE_ADDRESS}]:443",
    ],
)
def test_address_is_expected_in_every_spelling_of_proxies(written: str) -> None:
    assert build_policy().is_expected(written)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "unknown",
        UNEXPECTED_ADDRESS,
        "3.87.163.4",
        f"{THINGSPACE_ADDRESS} {THINGSPACE_ADDRESS}",
        "2001:db8::1",
        "[]:1",
    ],
)
def test_other_addresses_are_not_expected(written: str) -> None:
    assert not build_policy().is_expected(written)


def test_networks_and_ipv6_addresses_can_be_expected() -> None:
    expected = build_policy(addresses=("198.51.100.0/24", "2001:db8::/32"))
    assert expected.is_expected("198.51.100.77")
    assert expected.is_expected("[2001:db8::5]:443")
    assert not expected.is_expected(THINGSPACE_ADDRESS)


@pytest.mark.parametrize("value", ["nowhere", "198.51.100.7/8", 17])
def test_invalid_network_is_rejected(value: object) -> None:
    with pytest.raises(InvalidValue):
        parse_network(value)


def test_an_unexpected_address_is_logged_and_counted_and_its_message_is_stored_by_default(start: Start) -> None:
    listener = start(trustedProxyHops=1)
    for number in range(3):
        assert (
            listener.post(
                build_text_callback(f"{number}"), **{"X-Forwarded-For": f"{THINGSPACE_ADDRESS}, {UNEXPECTED_ADDRESS}"}
            ).status_code
            == 200
        )
    assert listener.post(build_text_callback("expected"), **{"X-Forwarded-For": THINGSPACE_ADDRESS}).status_code == 200
    assert "thingspace_callbacks_unexpected_source_total 3.0" in listener.get("/metrics").text.splitlines()
    records = [json.loads(line) for line in listener.log.read_text().splitlines()]
    [once] = [line for line in records if line["event"] == "callback_from_unexpected_source"]
    assert once["client"] == UNEXPECTED_ADDRESS
    assert len(listener.message_texts()) == 4


def test_an_unexpected_address_gets_404_and_the_probe_still_works_when_enforced(start: Start) -> None:
    listener = start(sourceAddressPolicy="enforce", trustedProxyHops=1)
    rejected = listener.post(
        build_text_callback("spoofed"), **{"X-Forwarded-For": f"{THINGSPACE_ADDRESS}, {UNEXPECTED_ADDRESS}"}
    )
    nowhere = listener.post(
        build_text_callback("x"), "/callbacks/not-the-path-token/x", **{"X-Forwarded-For": THINGSPACE_ADDRESS}
    )
    assert (rejected.status_code, rejected.content) == (nowhere.status_code, nowhere.content) == (404, b"not found")
    assert listener.post(build_text_callback("past the proxy")).status_code == 404
    assert listener.post(build_text_callback("taken"), **{"X-Forwarded-For": THINGSPACE_ADDRESS}).status_code == 200
    assert listener.get(listener.path(), **{"ThingSpace-Probe": "n" * 32}).status_code == 200
    assert listener.message_texts() == ["taken"]
    expected = 'thingspace_callbacks_rejected_total{reason="unexpected_source"} 2.0'
    assert expected in listener.get("/metrics").text.splitlines()


@pytest.mark.parametrize("value", ["", "much", "5 apples", "100%", "-1", -1, True, 1.5, ["1MB"]])
def test_invalid_disk_space_is_rejected(value: object) -> None:
    with pytest.raises(InvalidValue, match="5%"):
        parse_disk_space(value)


def test_disk_space_is_bytes_an_amount_or_a_percentage() -> None:
    assert [parse_disk_space(value) for value in (1000, "1KB", "2 GB", "5%")] == [
        MinFreeDiskSpace(1000, 0),
        MinFreeDiskSpace(1000, 0),
        MinFreeDiskSpace(2 * 10**9, 0),
        MinFreeDiskSpace(0, 0.05),
    ]


def test_listener_is_alive_and_not_ready_when_the_disk_is_full(start: Start) -> None:
    listener = start(minFreeDiskSpace="99%")
    response = listener.get("/readyz")
    assert response.status_code == 503
    assert response.json()["status"] == "unavailable"
    assert response.json()["reason"].startswith("the store's disk has ")
    assert listener.get("/healthz").status_code == 200
    assert listener.post(build_text_callback("fits still")).status_code == 200


@pytest.mark.long
def test_callbacks_pass_a_proxy_and_rejected_ones_are_recovered_from_the_queue(
    start: Start, any_port_emulator: EmulatorProcess, thingspace: ThingSpaceClient
) -> None:
    listener = start(
        sourceAddressPolicy="enforce", trustedProxyHops=1, **build_recovery_settings(any_port_emulator, "history")
    )
    register(thingspace, listener)
    any_port_emulator.control("PUT", "switches", {"sourceAddress": "published"})  # as a proxy would tell it
    any_port_emulator.send_message("through the proxy")
    wait_until(has_all_messages(listener, ["through the proxy"]), 60, "the listener stores 'through the proxy'")
    assert any_port_emulator.count_calls()["smsHistory"] <= 1
    any_port_emulator.control("PUT", "switches", {"sourceAddress": "loopback"})
    any_port_emulator.send_message("past the proxy")
    wait_until(has_all_messages(listener, ["past the proxy"]), 60, "the listener stores 'past the proxy'")
    [(stored, body)] = [
        (message["text"], message["body"]) for message in listener.messages(kind="text") if "past" in message["text"]
    ]
    assert "timestamp" in json.loads(body), f"{stored} was posted, not fetched"
