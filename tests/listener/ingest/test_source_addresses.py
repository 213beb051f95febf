"""Where callbacks come from: seen through proxies, counted, and refused when that is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.emulator_process import EmulatorProcess, eventually
from tests.support.listener_process import ListenerProcess, text
from tests.support.recovery_harness import has_all, heal, register
from thingspace_provider.api import Client
from thingspace_provider.listener.ingest.source_addresses import PUBLISHED, Sources, read_addresses
from thingspace_provider.listener.settings.values import Wrong
from thingspace_provider.listener.store.disk_space import Space, read_space

Start = Callable[..., ListenerProcess]
OURS, STRANGER = PUBLISHED[0], "203.0.113.9"


def sources(hops: int = 0, addresses: tuple[str, ...] = PUBLISHED) -> Sources:
    return Sources("enforce", read_addresses(list(addresses)), hops)


def request(*forwarded: str, peer: str = "10.0.0.1") -> dict[str, object]:
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    return {"client": (peer, 1234), "headers": headers}


@pytest.mark.parametrize(
    ("hops", "forwarded", "expected"),
    [
        (0, [], "10.0.0.1"),
        (0, [OURS], "10.0.0.1"),  # nobody in front of us: whoever writes the header is the sender
        (1, [OURS], OURS),
        (1, [f"{OURS}, {STRANGER}"], STRANGER),  # the sender wrote the first one
        (2, [f"{STRANGER}, {OURS}, 10.0.0.2"], OURS),
        (2, [STRANGER, f"{OURS},10.0.0.2"], OURS),  # two lines are one list
        (2, [OURS], ""),  # came past one of the two
        (1, [], ""),
    ],
)
def test_the_sender_is_whom_the_outermost_of_our_proxies_saw(hops: int, forwarded: list[str], expected: str) -> None:
    assert sources(hops).of(request(*forwarded)) == expected


@given(st.lists(st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=30), max_size=5))
def test_nothing_that_a_sender_writes_changes_what_the_proxy_saw(written: list[str]) -> None:
    lines = [*written, STRANGER] if written else [STRANGER]
    seen = sources(1).of({"headers": [(b"x-forwarded-for", ", ".join(lines).encode("latin-1"))], "client": None})
    assert seen == STRANGER
    assert not sources(1).expect(seen)


@pytest.mark.parametrize("written", [OURS, f"{OURS}:51234", f"::ffff:{OURS}", f"[::ffff:{OURS}]:443"])
def test_an_address_is_known_however_a_proxy_writes_it(written: str) -> None:
    assert sources().expect(written)


@pytest.mark.parametrize("written", ["", "unknown", STRANGER, "3.87.163.4", f"{OURS} {OURS}", "2001:db8::1", "[]:1"])
def test_anything_else_is_not_expected(written: str) -> None:
    assert not sources().expect(written)


def test_networks_and_the_newer_protocol_can_be_expected() -> None:
    expected = sources(addresses=("198.51.100.0/24", "2001:db8::/32"))
    assert expected.expect("198.51.100.77")
    assert expected.expect("[2001:db8::5]:443")
    assert not expected.expect(OURS)


@pytest.mark.parametrize("value", ["198.51.100.7", ["nowhere"], ["198.51.100.7/8"], [17]])
def test_addresses_that_are_none_are_refused(value: object) -> None:
    with pytest.raises(Wrong):
        read_addresses(value)


def test_by_default_an_unexpected_address_is_told_and_counted_and_its_text_is_taken(start: Start) -> None:
    listener = start(trustedHops=1)
    for number in range(3):
        assert listener.post(text(f"{number}"), **{"X-Forwarded-For": f"{OURS}, {STRANGER}"}).status_code == 200
    assert listener.post(text("expected"), **{"X-Forwarded-For": OURS}).status_code == 200
    assert "thingspace_callbacks_unexpected_source_total 3.0" in listener.get("/metrics").text.splitlines()
    told = [json.loads(line) for line in listener.log.read_text().splitlines()]
    [once] = [line for line in told if line["event"] == "callback taken from an unexpected address"]
    assert once["client"] == STRANGER
    assert len(listener.texts()) == 4


def test_enforced_a_stranger_is_answered_as_if_nothing_were_there_and_the_proof_as_always(start: Start) -> None:
    listener = start(sources="enforce", trustedHops=1)
    refused = listener.post(text("spoofed"), **{"X-Forwarded-For": f"{OURS}, {STRANGER}"})
    nowhere = listener.post(text("x"), "/callbacks/not-the-path-token/x", **{"X-Forwarded-For": OURS})
    assert (refused.status_code, refused.content) == (nowhere.status_code, nowhere.content) == (404, b"not found")
    assert listener.post(text("past the proxy")).status_code == 404
    assert listener.post(text("taken"), **{"X-Forwarded-For": OURS}).status_code == 200
    assert listener.get(listener.path(), **{"ThingSpace-Probe": "n" * 32}).status_code == 200
    assert listener.texts() == ["taken"]
    expected = 'thingspace_callbacks_refused_total{reason="not an expected source address"} 2.0'
    assert expected in listener.get("/metrics").text.splitlines()


@pytest.mark.parametrize("value", ["", "much", "5 apples", "100%", "-1", -1, True, 1.5, ["1MB"]])
def test_space_that_is_no_amount_is_refused(value: object) -> None:
    with pytest.raises(Wrong, match="5%"):
        read_space(value)


def test_space_is_bytes_an_amount_or_a_part_of_the_disk() -> None:
    assert [read_space(value) for value in (1000, "1KB", "2 GB", "5%")] == [
        Space(1000, 0),
        Space(1000, 0),
        Space(2 * 10**9, 0),
        Space(0, 0.05),
    ]


def test_a_full_disk_is_not_ready_but_alive_and_takes_what_it_can(start: Start) -> None:
    listener = start(freeSpace="99%")
    answer = listener.get("/readyz")
    assert answer.status_code == 503
    assert "the store's disk is full but for" in answer.json()["status"]
    assert listener.get("/healthz").status_code == 200
    assert listener.post(text("fits still")).status_code == 200


@pytest.mark.long
def test_through_a_proxy_thingspace_comes_in_and_what_came_past_it_is_fetched_from_the_queue(
    start: Start, world: EmulatorProcess, thingspace: Client
) -> None:
    listener = start(sources="enforce", trustedHops=1, **heal(world, "history"))
    register(thingspace, listener)
    world.control("PUT", "switches", {"sourceAddress": "published"})  # as a proxy would tell it
    world.text("through the proxy")
    assert eventually(has_all(listener, ["through the proxy"]))
    assert world.calls()["smsHistory"] <= 1
    world.control("PUT", "switches", {"sourceAddress": "loopback"})
    world.text("past the proxy")
    assert eventually(has_all(listener, ["past the proxy"]))
    [(kept, body)] = [(one["text"], one["body"]) for one in listener.messages(kind="text") if "past" in one["text"]]
    assert "timestamp" in json.loads(body), f"{kept} was posted, not fetched"
