"""Inbox page in a browser: views and actions, and messages with markup."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support import postgres_server
from tests.support.emulator_process import EmulatorProcess
from tests.support.forwarding_harness import build_sink, read_metric, send
from tests.support.listener_process import (
    ACCOUNT,
    API_TOKEN,
    OTHER_ACCOUNT,
    ListenerProcess,
    build_text_callback,
    reserve_port,
)
from tests.support.load_senders import LoadSenders
from tests.support.page_checks import VIEWPORTS, find_violations, has_overflow, measure_max_task, open_page
from tests.support.postgres_server import PostgresServer
from tests.support.recovery_harness import build_recovery_settings
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import Receiver

Start = Callable[..., ListenerProcess]
MARKUP = '<b id="injected">bold</b><img src=x onerror="document.title = 1"><script>document.title = 2</script>'


def sign_in(page: Page, listener: ListenerProcess, token: str = API_TOKEN) -> None:
    page.goto(listener.url + "/")
    expect(page.locator("#token")).to_be_focused()
    page.keyboard.type(token)
    page.keyboard.press("Enter")


@contextmanager
def open_inbox(browser: Browser, listener: ListenerProcess, address: str = "", *viewport: Any) -> Iterator[Page]:
    """Open the page, sign in, and check errors and requests at the end."""
    with open_page(browser, f"{listener.url}/", *viewport) as page:
        page.goto(f"{listener.url}/{address}")
        page.fill("#token", API_TOKEN)
        page.press("#token", "Enter")
        expect(page.locator("#status li").first).to_be_visible()
        yield page


def visible_texts(page: Page) -> Locator:
    return page.locator("#list .text")


def fill_filter(page: Page, field: str, value: str) -> None:
    page.locator("#narrow").evaluate("details => details.open = true")
    page.fill(f"#{field}", value)


def test_the_page_is_one_file_without_external_resources_or_other_scripts(start: Start) -> None:
    listener = start()
    response = listener.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert re.findall(r'\s(?:src|href)\s*=\s*"?([^"\s>]+)', response.text) == ["data:,", "#list"]
    assert not re.findall(
        r"\son[a-z]+=|style=|innerHTML|insertAdjacentHTML|document\.write|https?://(?!www\.w3\.org/2000/svg)",
        response.text,
    )
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert len(re.findall("'sha256-", policy)) == 2
    assert listener.session.post(listener.url + "/", timeout=10).status_code == 404


def test_there_is_no_page_without_an_api_token(start: Start) -> None:
    response = start(apiToken=None).get("/")
    assert (response.status_code, response.content) == (404, b"not found")


def test_messages_appear_on_an_open_page_and_their_markup_stays_text_also_on_a_phone(
    start: Start, browser: Browser
) -> None:
    listener = start()
    send(listener, MARKUP, "x" * 160)
    page = browser.new_page(viewport={"width": 360, "height": 740}, is_mobile=True)
    sign_in(page, listener, "not the token")
    expect(page.locator("#login-error")).to_contain_text("did not accept")
    assert page.evaluate("sessionStorage.length") == 0
    sign_in(page, listener)
    expect(page.locator("#list li")).to_have_count(2)
    send(listener, "is stored while the page is open")
    expect(visible_texts(page)).to_have_text(["is stored while the page is open", "x" * 160, MARKUP])
    page.click("#list li:last-child .text")
    expect(page.locator("#detail")).to_contain_text("on disk")
    expect(page.locator("blockquote")).to_have_text(MARKUP)
    expect(page.locator(".history")).to_contain_text("Not forwarded")
    expect(page.locator("#injected")).to_have_count(0)
    expect(page).to_have_title("Inbox")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("document.querySelector('#detail').scrollWidth <= window.innerWidth")
    requested_urls = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name).join()")
    assert "/v1/messages/1" in requested_urls
    assert API_TOKEN not in requested_urls + page.evaluate(
        "location.href + document.cookie + JSON.stringify(localStorage)"
    )


@pytest.mark.long
def test_page_shows_each_message_once_on_a_slow_network(start: Start, browser_page: Page) -> None:
    listener = start()
    slow = """(() => {
      const fetch = window.fetch; window.open_requests = 0; window.max_open_requests = 0; window.held = [];
      window.fetch = async (...request) => {
        if (!request[0].startsWith("/v1/messages?")) return fetch(...request);
        window.open_requests += 1; window.max_open_requests = Math.max(window.max_open_requests, window.open_requests);
        const response = await fetch(...request);
        await new Promise(release => window.held.push(release));
        window.open_requests -= 1;
        return response;
      };
    })()"""
    come_back = "document.dispatchEvent(new Event('visibilitychange'))"

    def wait_for_held_responses(count: int) -> None:
        wait_until(lambda: browser_page.evaluate("window.held.length") >= count, 60, f"{count} responses are held")

    sign_in(browser_page, listener)
    expect(browser_page.locator("#state")).to_have_text("Live")
    browser_page.evaluate(slow)
    wait_for_held_responses(1)
    send(listener, "only once")
    for _ in range(4):
        browser_page.evaluate(come_back)
    browser_page.evaluate("void load()")  # as a search that is typed before the response arrives
    browser_page.evaluate(come_back)
    wait_for_held_responses(2)
    for _ in range(3):  # oldest response first; each permits at most one more request
        browser_page.evaluate("window.held.shift()()")
        wait_for_held_responses(1)
    assert visible_texts(browser_page).all_inner_texts() == ["only once"]
    assert browser_page.evaluate("window.max_open_requests") == 2


@pytest.mark.long
def test_search_filters_shown_and_new_messages(start: Start, browser_page: Page) -> None:
    listener = start()
    send(listener, "T=21.5", "gate open", device="5551230001")
    send(listener, "T=19.0", "Gate shut", device="5551230002")
    assert listener.post(build_text_callback("T=3.0"), listener.path(OTHER_ACCOUNT)).status_code == 200
    sign_in(browser_page, listener)
    expect(visible_texts(browser_page)).to_have_count(5)
    fill_filter(browser_page, "contains-text", "gate")
    expect(visible_texts(browser_page)).to_have_text(["Gate shut", "gate open"])
    send(listener, "not searched for", "GATE open again", device="5551230003")
    expect(visible_texts(browser_page)).to_have_text(["GATE open again", "Gate shut", "gate open"])
    browser_page.click("#clear")
    expect(visible_texts(browser_page)).to_have_count(7)
    fill_filter(browser_page, "device", "mdn 5551230002")
    expect(visible_texts(browser_page)).to_have_text(["Gate shut", "T=19.0"])
    browser_page.click("#clear")
    fill_filter(browser_page, "account", OTHER_ACCOUNT)
    expect(visible_texts(browser_page)).to_have_text(["T=3.0"])
    fill_filter(browser_page, "until", "2001-01-01T00:00")
    expect(browser_page.locator("#empty")).to_contain_text("No messages match")


@pytest.mark.long
def test_older_messages_follow_and_each_is_shown_once(start: Start, browser_page: Page) -> None:
    listener = start()
    send(listener, *(f"text {number}" for number in range(120)))
    sign_in(browser_page, listener)
    for count in (50, 100):
        expect(visible_texts(browser_page)).to_have_count(count)
        browser_page.click("#older")
    expect(visible_texts(browser_page)).to_have_text([f"text {number}" for number in reversed(range(120))])
    expect(browser_page.locator("#older")).to_be_hidden()


@pytest.mark.long
def test_a_dead_letter_is_seen_with_its_reason_and_delivered_after_a_retry(
    start: Start, receiver: Receiver, browser_page: Page
) -> None:
    receiver.responder = lambda received: (422 if received.text == MARKUP else 204, {})
    listener = start(sinks=[build_sink(receiver)])
    send(listener, "good", MARKUP)
    receiver.wait_for("good")
    letters = browser_page.locator("#letters li")

    def refresh_dead_letters() -> bool:
        browser_page.click("#refresh")
        return letters.count() > 0

    sign_in(browser_page, listener)
    expect(visible_texts(browser_page)).to_have_count(2)
    browser_page.click("#show-dead")
    wait_until(refresh_dead_letters, 60, "the page shows the dead letter")
    expect(letters.locator(".text")).to_have_text(MARKUP)
    expect(letters).to_contain_text("hub: the receiver responded with 422")
    letters.get_by_role("button", name="Delivery history").click()
    history = browser_page.locator(".history")
    expect(history).to_contain_text("Dead letter for hub")
    receiver.responder = lambda _: (204, {})
    history.get_by_role("button").click()
    expect(history).not_to_contain_text("Dead letter")
    receiver.wait_for(MARKUP)
    browser_page.click("#close")
    browser_page.click("#refresh")
    expect(browser_page.locator("#no-letters")).to_be_visible()
    wait_until(lambda: read_metric(listener, "thingspace_outbox_pending") == 0, 60, "the outbox is empty")
    browser_page.click("#show-messages")
    browser_page.click("#list li:first-child .text")
    expect(history).to_contain_text("Delivered to hub")


@pytest.mark.long
def test_a_lost_connection_to_the_listener_is_reported_and_restored(start: Start, browser_page: Page) -> None:
    listener = start(port=reserve_port())
    send(listener, "before")
    sign_in(browser_page, listener)
    expect(visible_texts(browser_page)).to_have_text(["before"])
    listener.stop()
    expect(browser_page.locator("#error")).to_contain_text("cannot be reached")
    send(start(port=listener.port), "after")
    expect(visible_texts(browser_page)).to_have_text(["after", "before"])
    expect(browser_page.locator("#error")).to_be_hidden()
    browser_page.reload()  # the token is kept until the tab is closed
    expect(visible_texts(browser_page)).to_have_text(["after", "before"])
    browser_page.click("#leave")
    expect(browser_page.locator("#token")).to_be_focused()
    assert browser_page.evaluate("sessionStorage.length + document.querySelectorAll('#list li').length") == 0


@pytest.mark.parametrize(("width", "scheme"), VIEWPORTS)
def test_page_fits_and_is_accessible(
    start: Start, receiver: Receiver, other: Receiver, browser: Browser, width: int, scheme: str
) -> None:
    receiver.responder = lambda received: (422 if received.text == MARKUP else 204, {})
    other.responder = lambda _: (503, {})
    listener = start(sinks=[build_sink(receiver), build_sink(other, "warehouse")])
    send(listener, MARKUP, "x" * 160, "again", "again")
    with open_inbox(browser, listener, "#contains=", width, scheme) as page:
        expect(page.locator("#status")).to_contain_text("4 pending")
        expect(page.locator("#status")).to_contain_text("the receiver responded with 503")
        expect(page.locator("#dead-count")).to_have_text("(1)")
        expect(page.locator(".badge")).to_have_text("duplicate")
        page.locator("#narrow").evaluate("details => details.open = true")
        assert not has_overflow(page)
        assert find_violations(page) == []
        page.click("#list li:last-child .text")
        expect(page.locator(".history")).to_contain_text("Pending for warehouse")
        assert not has_overflow(page)
        assert find_violations(page) == []
        page.click("#close")
        page.click("#show-dead")
        expect(page.locator("#letters li")).to_have_count(1)
        assert not has_overflow(page)
        assert find_violations(page) == []


@pytest.mark.long
def test_the_address_shows_the_same_filter_and_message_to_a_colleague(start: Start, browser: Browser) -> None:
    listener = start()
    send(listener, "T=21.5", "gate open", device="5551230001")
    send(listener, "T=19.0", device="5551230002")
    assert listener.post(build_text_callback("T=3.0"), listener.path(OTHER_ACCOUNT)).status_code == 200
    with open_inbox(browser, listener) as page:
        expect(visible_texts(page)).to_have_count(4)
        page.click("#list li:nth-child(2) .about a >> nth=0")
        expect(visible_texts(page)).to_have_text(["T=19.0"])
        page.go_back()
        expect(visible_texts(page)).to_have_count(4)
        page.click("#list li:first-child .about a >> nth=1")
        expect(visible_texts(page)).to_have_text(["T=3.0"])
        page.click("#clear")
        expect(visible_texts(page)).to_have_count(4)
        page.fill("#device", "mdn 5551230001")
        page.fill("#contains-text", "gate")
        page.fill("#since", "2026-03-01T08:15:30")
        expect(visible_texts(page)).to_have_text(["gate open"])
        page.click("#copy-filter")
        expect(page.locator("#copy-filter")).to_have_text("Copied")
        filter_link = page.evaluate("navigator.clipboard.readText()")
        page.click("#list li .text")
        page.locator("#detail").get_by_role("button", name="Copy link").click()
        expect(page.locator("#detail").get_by_role("button", name="Copied")).to_be_visible()
        message_link = page.evaluate("navigator.clipboard.readText()")
        page.go_back()
        expect(page.locator("#detail")).to_be_hidden()
    assert (filter_link + message_link).count(f"{listener.url}/#") == 2
    with open_inbox(browser, listener, filter_link.partition("/#")[2].join(["#", ""])) as page:
        expect(visible_texts(page)).to_have_text(["gate open"])
        assert page.input_value("#since") == "2026-03-01T08:15:30"
        assert page.input_value("#device") == "mdn:5551230001"
    with open_inbox(browser, listener, message_link.partition("/#")[2].join(["#", ""])) as page:
        expect(page.locator("#detail blockquote")).to_have_text("gate open")
        expect(page.locator("#detail-title")).to_have_text("Message 2")


@pytest.mark.long
def test_a_message_is_copied_as_text_and_as_json(start: Start, browser: Browser) -> None:
    listener = start()
    send(listener, MARKUP)
    with open_inbox(browser, listener, "#message=1") as page:
        for has_clipboard in (True, False):  # without HTTPS a browser has none
            if not has_clipboard:
                page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
            page.get_by_role("button", name="Copy text").click()
            expect(page.get_by_role("button", name="Copied")).to_be_visible()
            expect(page.get_by_role("button", name="Copied")).to_have_count(0)
        page.reload()
        assert page.evaluate("navigator.clipboard.readText()") == MARKUP
        page.get_by_role("button", name="Copy JSON").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
        assert (copied["id"], copied["text"], copied["account"]) == ("1", MARKUP, ACCOUNT)


@pytest.mark.long
def test_an_empty_inbox_says_that_nothing_is_forwarded_and_the_chart_counts_new_messages(
    start: Start, browser: Browser
) -> None:
    listener = start()
    with open_inbox(browser, listener) as page:
        expect(page.locator("#status")).to_contain_text("SinksNoneMessages are stored and not forwarded.")
        expect(page.locator("#status")).to_contain_text("Queue recoveryOff")
        expect(page.locator("#empty")).to_contain_text("not forwarded, because no sink is configured")
        expect(page.locator("#total")).to_have_text("0 messages")
        assert find_violations(page) == []
        send(listener, "T=1", "T=2", "gate")
        expect(page.locator("#total")).to_have_text("3 messages, at most 3 in 30 minutes")
        expect(page.locator("#chart rect:not(.over)")).to_have_count(1)
        page.fill("#contains-text", "T=")
        expect(page.locator("#total")).to_contain_text("2 messages")
        page.select_option("#range", "3600")
        expect(page.locator("#total")).to_contain_text("in 1 minute")
        assert "2 messages" in str(page.get_attribute("#chart", "aria-label"))


@pytest.mark.long
def test_status_shows_that_the_store_cannot_be_read_until_it_can(start: Start, browser: Browser) -> None:
    if reason := postgres_server.get_skip_reason():
        pytest.skip(reason)
    server = PostgresServer()
    try:
        listener = start(store=server.url())
        with open_page(browser, f"{listener.url}/", has_errors=True) as page:
            page.fill("#token", API_TOKEN)
            page.press("#token", "Enter")
            expect(page.locator("#status")).to_contain_text("ListenerReady")
            server.stop()
            expect(page.locator("#status")).to_contain_text("ListenerNot ready")
            expect(page.locator("#status")).to_contain_text("The store cannot be read.")
            expect(page.locator("#error")).to_contain_text("The page retries. It shows the state of 20")
            assert find_violations(page) == []
            server.start()
            expect(page.locator("#status")).to_contain_text("ListenerReady")
            expect(page.locator("#error")).to_be_hidden()
    finally:
        server.remove()


@pytest.mark.long
def test_status_shows_the_last_and_the_next_run_of_queue_recovery(
    start: Start, any_port_emulator: EmulatorProcess, browser: Browser
) -> None:
    listener = start(**build_recovery_settings(any_port_emulator, "history"))
    with open_inbox(browser, listener) as page:
        expect(page.locator("#status")).to_contain_text(re.compile(rf"On{ACCOUNT}last run 20.*next run 20"))


@pytest.mark.long
def test_page_responds_within_100_ms_while_10_000_messages_arrive(start: Start, browser: Browser) -> None:
    listener = start()
    with open_inbox(browser, listener) as page:

        def interact() -> None:
            for number in range(15):
                page.locator("#contains-text").press(str(number % 10))
                page.click("#show-dead" if number % 2 else "#show-messages")
                page.click("#zone-utc" if number % 2 else "#zone-local")
                page.click("#show-messages")
                page.wait_for_timeout(100)
                page.fill("#contains-text", "")

        sender = LoadSenders(listener, "load", connections=10, messages_per_sender=1000)
        assert measure_max_task(page, interact) < 50  # an interaction waits for at most two tasks
        sender.wait()
        newest = listener.fetch_page(newest=1)["messages"][0]["text"]
        expect(visible_texts(page).first).to_have_text(newest)
        assert visible_texts(page).count() <= 1000


@pytest.mark.long
def test_the_page_can_be_used_with_the_keyboard(start: Start, browser: Browser) -> None:
    listener = start()
    send(listener, "first", "second")
    with open_page(browser, f"{listener.url}/") as page:
        expect(page.locator("#token")).to_be_focused()
        assert find_violations(page) == []
    with open_inbox(browser, listener) as page:
        expect(visible_texts(page)).to_have_count(2)
        page.focus("#contains-text")
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == "first":
                break
        page.keyboard.press("Enter")
        expect(page.locator("#detail blockquote")).to_have_text("first")
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.textContent") == "first"
        page.focus("#show-messages")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#no-letters")).to_be_visible()
        expect(page.locator("#show-dead")).to_be_focused()
