"""Page of the emulator: one file, and every function in a browser."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.page_checks import VIEWPORTS, find_violations, has_overflow, measure_max_task, open_page
from tests.support.raw_api_client import ACCOUNT, OTHER_ACCOUNT, TEXT_SERVICE, USERNAME, RawApiClient
from tests.support.waiting import wait_until
from thingspace_provider.emulator.platform.faults import DELIVERY, OPERATIONS
from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener

MARKUP = '<b id="injected">bold</b><img src=x onerror="document.title = 1">'
SHUT_URL = "http://127.0.0.1:9/callbacks/a-secret-that-is-masked/" + "x" * 12


def root(client: RawApiClient) -> str:
    return client.url.removesuffix("/api") + "/"


@pytest.fixture
def page(caller: RawApiClient, browser: Browser) -> Iterator[Page]:
    """Page at 1280 pixels that shows the state of the emulator."""
    with open_page(browser, root(caller)) as page:
        expect(page.locator("#accounts > li")).to_have_count(3)
        yield page


def open_tools(page: Page) -> None:
    page.evaluate("for (const element of document.querySelectorAll('details')) element.open = true")


def card(page: Page, account: str = ACCOUNT) -> Any:
    return page.locator("#accounts > li").filter(has_text=account)


def queued(page: Page, account: str = ACCOUNT) -> Any:
    return card(page, account).locator("dd").first


def test_the_page_is_one_file_without_external_resources_or_other_scripts(caller: RawApiClient) -> None:
    reply = caller.send("GET", "/", root=True)
    content, policy = reply.body.decode(), reply.headers["content-security-policy"]
    assert re.findall(r'\s(?:src|href)\s*=\s*"?([^"\s>]+)', content) == ["data:,", "#timeline"]
    assert not re.findall(r"\son[a-z]+=|style=|innerHTML|insertAdjacentHTML|document\.write|https?://", content)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert len(re.findall("'sha256-", policy)) == 2


def test_the_page_offers_every_operation_for_a_fault(caller: RawApiClient) -> None:
    content = caller.send("GET", "/", root=True).body.decode()
    [options] = re.findall(r'<select id="operation">(.*?)</select>', content, re.DOTALL)
    names = {value or text for value, text in re.findall(r'<option(?: value="(\w+)")?>([^<]*)', options)}
    assert names == {*OPERATIONS, DELIVERY}


def test_a_page_of_another_origin_can_neither_read_nor_send(caller: RawApiClient) -> None:
    for method, path in (("GET", "/"), ("GET", "/_emulator/events"), ("POST", "/_emulator/users/lock")):
        assert caller.send(method, path, b"", {"Origin": "http://evil.example"}, root=True).status == 403
        assert caller.send(method, path, b"", {"Host": "evil.example"}, root=True).status == 403


def fill_state(client: RawApiClient, listener: ScriptedListener) -> None:
    client.send_message("waits here", OTHER_ACCOUNT)
    client.register(listener.url)
    client.register(SHUT_URL, "0000987654-00001")
    client.send_message(MARKUP + "x" * 80)
    client.send_message("lost", "0000987654-00001")
    client.control("POST", "faults", {"operation": "login", "response": {"status": 503}})
    client.control("POST", "users/lock", {"username": USERNAME})
    client.login()
    client.login()
    client.wait_until_idle()


@pytest.mark.parametrize(("width", "scheme"), VIEWPORTS)
def test_page_fits_and_is_accessible(
    client: RawApiClient, listener: ScriptedListener, browser: Browser, width: int, scheme: str
) -> None:
    fill_state(client, listener)
    with open_page(browser, root(client), width, scheme) as page:
        expect(page.locator("#events .outcome").filter(has_text="delivered 200")).to_have_count(1)
        expect(page.locator("#injected")).to_have_count(0)
        open_tools(page)
        assert not has_overflow(page)
        assert find_violations(page) == []
        card(page, OTHER_ACCOUNT).get_by_role("button", name="Show queue").click()
        expect(page.locator("#queue-list")).to_contain_text("waits here")
        assert not has_overflow(page)
        assert find_violations(page) == []


@pytest.mark.long
def test_a_typed_message_appears_in_the_queue_and_then_at_the_listener(
    client: RawApiClient, listener: ScriptedListener, page: Page
) -> None:
    expect(page.locator("#message")).to_be_focused()
    page.keyboard.type("T=21.5 from the box")
    page.keyboard.press("Enter")
    expect(page.locator("#done")).to_have_text("Sent from mdn 5551230001: T=21.5 from the box")
    assert client.fetch_queue() == ["T=21.5 from the box"]
    expect(queued(page)).to_have_text("1")
    expect(page.locator("#message")).to_be_focused()
    page.keyboard.type("half a message")
    client.register(listener.url)
    client.start_callbacks()
    assert listener.wait_for(1) == ["T=21.5 from the box"]
    first = page.locator("#events li").first
    expect(first).to_contain_text("T=21.5 from the box")
    expect(first.locator(".outcome")).to_have_text("delivered 200")
    expect(queued(page)).to_have_text("0")
    expect(page.locator("#message")).to_have_value("half a message")
    page.select_option("#account", OTHER_ACCOUNT)
    page.select_option("#device", label="mdn 5551230102")
    page.fill("#repeat", "3")
    page.click("#send button.main")
    expect(queued(page, OTHER_ACCOUNT)).to_have_text("3")


@pytest.mark.long
def test_every_control_of_the_page_works(client: RawApiClient, listener: ScriptedListener, page: Page) -> None:
    client.register(listener.url)
    card(page).get_by_role("button", name="Drop listener").click()
    expect(card(page)).to_contain_text(f"{TEXT_SERVICE}: dropped")
    client.send_message("meanwhile")
    card(page).get_by_role("button", name="Restore listener").click()
    expect(card(page)).to_contain_text(listener.url)
    assert client.fetch_queue() == ["meanwhile"]
    card(page).get_by_role("button", name="Show queue").click()
    expect(page.locator("#queue-list li")).to_contain_text("meanwhile")
    page.click("#close")
    card(page).get_by_role("button", name="Empty queue").click()
    expect(page.locator("#done")).to_contain_text("1 message removed")
    assert client.fetch_queue() == []

    page.get_by_role("button", name="Lock out").click()
    expect(page.locator("#users")).to_contain_text("locked, 5 failed logins")
    assert client.login().code.endswith("UserLocked")
    page.get_by_role("button", name="Unlock").click()
    expect(page.locator("#users")).to_contain_text("0 failed logins")
    client.log_in()

    for operation, effect, added in (
        ("login", "response", {"response": {"status": 503}}),
        ("smsHistory", "drop:before", {"drop": "before"}),
        ("delivery", "duplicate", {"duplicate": 1}),
    ):
        page.select_option("#operation", operation)
        page.select_option("#effect", effect)
        page.click("#fault button.main")
        expect(page.locator("#fault-list")).to_contain_text(operation)
        assert client.control("GET", "faults").json()["faults"][-1].items() >= added.items()
    page.get_by_role("button", name="Remove fault 1").click()
    expect(page.locator("#fault-list > li")).to_have_count(2)

    page.click("#freeze")
    expect(page.locator("#frozen")).to_have_text("frozen")
    before = client.control("GET", "clock").json()["seconds"]
    page.get_by_role("button", name="+1 hour").click()
    expect(page.locator("#done")).to_have_text("The clock was advanced by 1 hour.")
    page.click("#advance button >> nth=0")
    expect(page.locator("#done")).to_have_text("The clock was advanced.")
    assert client.control("GET", "clock").json()["seconds"] == before + 3900

    page.select_option("#show", "delivery")
    expect(page.locator("#events li:visible")).to_have_count(0)
    page.select_option("#show", "bad")
    expect(page.locator("#events li:visible").first).to_contain_text("login")
    page.select_option("#show", "")
    page.click("#clear")
    expect(page.locator("#events li")).to_have_count(0)
    client.start_callbacks()
    expect(page.locator("#events li")).to_contain_text("startCallbacks")


@pytest.mark.long
def test_the_shown_curl_sends_the_same_request(client: RawApiClient, page: Page) -> None:
    page.fill("#message", 'it\'s "quoted" $HOME `id`')
    page.click("[data-curl=send]")
    command = page.locator("#dialog pre").inner_text()
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == command
    subprocess.run(["sh", "-c", command], check=True, capture_output=True, timeout=30)
    assert client.fetch_queue() == ['it\'s "quoted" $HOME `id`']
    page.click("#close")
    page.get_by_role("button", name="Lock out").click()
    expect(page.locator("#done")).to_contain_text("locked")
    assert find_violations(page) == []
    page.click("#done-curl")
    assert find_violations(page) == []
    assert json.dumps({"username": USERNAME}).replace(" ", "") in page.locator("#dialog pre").inner_text()


@pytest.mark.long
def test_the_page_can_be_used_with_the_keyboard(client: RawApiClient, page: Page) -> None:
    client.control("POST", "users/lock", {"username": USERNAME})
    unlock = page.get_by_role("button", name=f"Unlock {USERNAME}")
    expect(unlock).to_be_visible()
    for _ in range(40):
        page.keyboard.press("Tab")
        if unlock.evaluate("element => element === document.activeElement"):
            break
    page.keyboard.press("Enter")
    lock_out = page.get_by_role("button", name=f"Lock out {USERNAME}")
    expect(lock_out).to_be_visible()
    assert page.evaluate("document.querySelector('#users').contains(document.activeElement)")
    assert client.login().status == 200


@pytest.mark.long
def test_a_lost_connection_is_reported_until_it_is_restored(caller: RawApiClient, browser: Browser) -> None:
    with open_page(browser, root(caller), has_errors=True) as page:
        expect(page.locator("#state")).to_have_text("Live")
        page.context.set_offline(True)
        expect(page.locator("#lost")).to_contain_text("cannot be reached. The page retries. It shows the state of 20")
        expect(page.locator("#state")).to_have_text("Not live")
        assert find_violations(page) == []
        page.context.set_offline(False)
        expect(page.locator("#lost")).to_be_hidden()
        expect(page.locator("#state")).to_have_text("Live")


@pytest.mark.long
def test_page_responds_within_100_ms_while_10_000_messages_arrive(
    client: RawApiClient, listener: ScriptedListener, page: Page
) -> None:
    client.register(listener.url)

    def interact() -> None:
        for number in range(15):
            page.locator("#message").press(str(number % 10))
            page.select_option("#show", ("delivery", "")[number % 2])
            page.click("#zone-utc" if number % 2 else "#zone-local")
            page.wait_for_timeout(100)

    client.send_message("load", repeat=10_000)
    assert measure_max_task(page, interact) < 50  # an interaction waits for at most two tasks
    wait_until(
        lambda: client.control("GET", "summary").json()["accounts"][0]["inFlight"] == 0, 120, "all are delivered"
    )
    expect(page.locator("#events .gap").first).to_be_attached()
    assert page.locator("#events > li").count() <= 300
