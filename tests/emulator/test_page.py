from __future__ import annotations

import html
import re
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.support.raw_api_client import ACCOUNT, PASSWORD, USERNAME, RawApiClient, RawResponse
from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener

DEVICE = f"{ACCOUNT}/0"


def page(caller: RawApiClient, path: str = "/") -> str:
    reply = caller.send("GET", path, root=True)
    assert reply.status == 200
    return reply.body.decode()


def post(caller: RawApiClient, path: str, **form: str) -> RawResponse:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return caller.send("POST", path, urlencode(form).encode(), headers, root=True)


def test_the_page_shows_accounts_devices_listeners_queue_deliveries_and_calls(
    client: RawApiClient, listener: ScriptedListener
) -> None:
    client.send_message("waits here", "0000123456-00002")
    client.register(listener.url, password="listener-secret")
    client.send_message("came through")
    client.wait_until_idle()
    content = html.unescape(page(client))
    for words in (
        ACCOUNT,
        "mdn 5551230001",
        listener.url,
        "waits here",
        "came through",
        "delivered 200",
        "registerCallback",
    ):
        assert words in content
    for secret in ("listener-secret", PASSWORD, "emulator-app-secret", str(client.access_token), str(client.session)):
        assert secret not in content


def test_the_page_loads_nothing_from_other_hosts_and_escapes_messages(client: RawApiClient) -> None:
    client.send_message("<script>alert(1)</script>")
    reply = client.send("GET", "/?message=%3Cscript%3Ealert(2)%3C/script%3E", root=True)
    content = reply.body.decode()
    assert "<script>alert" not in content
    assert re.findall(r'(?:src|href)="([^"#]+)"', content) == ["data:,"]
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "'unsafe-inline'" not in reply.headers["content-security-policy"]


def test_the_form_sends_a_message_as_the_selected_device(caller: RawApiClient) -> None:
    reply = post(caller, "/messages", device=f"{ACCOUNT}/1", message="T=21.5 & more")
    assert reply.status == 303
    assert caller.fetch_queue() == ["T=21.5 & more"]
    content = page(caller, reply.headers["location"])
    assert "Sent from mdn 5551230002: T=21.5 &amp; more" in content
    assert f'value="{ACCOUNT}/1" selected' in content


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"device": DEVICE}, "An empty message"),
        ({"device": "nowhere/0", "message": "x"}, "no such device"),
        ({"device": f"{ACCOUNT}/9", "message": "x"}, "no such device"),
        ({"device": f"{ACCOUNT}/-1", "message": "x"}, "no such device"),
        ({}, "no such device"),
    ],
)
def test_an_invalid_form_is_reported_on_the_page(caller: RawApiClient, form: dict[str, str], words: str) -> None:
    reply = post(caller, "/messages", **form)
    assert words in page(caller, reply.headers["location"])
    assert caller.fetch_queue() == []


def test_the_button_unlocks_a_locked_user(client: RawApiClient) -> None:
    for _ in range(5):
        client.login(password="wrong")
    assert f"Unlock {USERNAME}" in page(client)
    assert post(client, "/unlock", username=USERNAME).status == 303
    assert client.login().status == 200
    assert "no such user" in page(client, post(client, "/unlock", username="unknown").headers["location"])


def test_a_page_of_another_origin_can_neither_read_nor_send(caller: RawApiClient) -> None:
    for method, path in (("GET", "/"), ("GET", "/live"), ("POST", "/messages"), ("POST", "/unlock")):
        assert caller.send(method, path, b"", {"Origin": "http://evil.example"}, root=True).status == 403
        assert caller.send(method, path, b"", {"Host": "evil.example"}, root=True).status == 403


def test_a_long_queue_is_truncated_on_the_page(caller: RawApiClient) -> None:
    caller.send_message("x", repeat=5000)
    content = page(caller)
    assert "and 4980 more" in content
    assert len(content) < 50_000


def open_page(browser_page: Page, client: RawApiClient) -> None:
    browser_page.goto(client.url.removesuffix("/api") + "/")
    expect(browser_page.locator("#message")).to_be_focused()


def test_a_typed_message_appears_in_the_queue_and_then_at_the_listener(
    client: RawApiClient, listener: ScriptedListener, browser_page: Page
) -> None:
    open_page(browser_page, client)
    browser_page.keyboard.type("T=21.5 from the box")
    browser_page.keyboard.press("Enter")
    expect(browser_page.locator("#queue")).to_contain_text("T=21.5 from the box")
    assert client.fetch_queue() == ["T=21.5 from the box"]
    expect(browser_page.locator("#message")).to_be_focused()
    browser_page.keyboard.type("half a message")
    client.register(listener.url)
    client.start_callbacks()
    assert listener.wait_for(1) == ["T=21.5 from the box"]
    expect(browser_page.locator("#deliveries")).to_contain_text("delivered 200")
    expect(browser_page.locator("#queue")).to_have_text("The queue is empty.")
    expect(browser_page.locator("#message")).to_have_value("half a message")


def test_the_page_can_be_used_with_the_keyboard(client: RawApiClient, browser_page: Page) -> None:
    for _ in range(5):
        client.login(password="wrong")
    open_page(browser_page, client)
    reached = []
    for _ in range(3):
        browser_page.keyboard.press("Tab")
        reached.append(browser_page.evaluate("document.activeElement.innerText || document.activeElement.id"))
    assert reached[0] == "Send as the device"
    assert f"Unlock {USERNAME}" in reached
    browser_page.locator(".inline button").press("Enter")
    expect(browser_page.locator(".message")).to_contain_text("is unlocked")
    assert client.login().status == 200
    unlabelled = "[...document.querySelectorAll('input, select')].filter(e => !e.labels.length).length"
    assert browser_page.evaluate(unlabelled) == 0
