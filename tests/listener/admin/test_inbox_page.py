"""The inbox in a browser: what a person sees and does, and what a text cannot do to them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest

from tests.support.chromium import Browser, find_browser
from tests.support.forwarding_harness import build_sink, read_metric, send, wait_until
from tests.support.listener_process import API_TOKEN, OTHER_ACCOUNT, ListenerProcess, build_text_callback, reserve_port
from tests.support.webhook_receiver import Receiver

Start = Callable[..., ListenerProcess]
MARKUP = '<b id="injected">bold</b><img src=x onerror="document.title = 1"><script>document.title = 2</script>'
VISIBLE_TEXTS = "[...document.querySelectorAll('#list .text')].map(each => each.innerText)"


def run_in_browser(work: Callable[[Browser], Awaitable[None]]) -> None:
    path = find_browser()
    if path is None:
        pytest.skip("NO CHROMIUM: the inbox page is not tested in a browser. Install it: apt-get install chromium")

    async def main() -> None:
        async with Browser(path) as browser:
            await work(browser)

    asyncio.run(main())


async def enter(browser: Browser, listener: ListenerProcess, token: str = API_TOKEN) -> None:
    await browser.open(listener.url + "/")
    await browser.wait_until("document.activeElement.id === 'token'")
    await browser.type(token)
    await browser.press("Enter", 13, "\r")


async def fill(browser: Browser, field: str, value: str) -> None:
    await browser.evaluate(
        f"document.querySelector('#narrow').open = true; document.getElementById('{field}').value = '{value}';"
        f"document.getElementById('{field}').dispatchEvent(new Event('input', {{bubbles: true}}))"
    )


async def click(browser: Browser, selector: str) -> None:
    await browser.evaluate(f"document.querySelector('{selector}').click()")


def test_the_page_is_one_file_without_external_resources_or_other_scripts(start: Start) -> None:
    listener = start()
    response = listener.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert re.findall(r'(?:src|href)\s*=\s*"?([^"\s>]+)', response.text) == ["data:,"]
    assert not re.findall(r"\son[a-z]+=|style=|innerHTML|insertAdjacentHTML|document\.write|https?://", response.text)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert len(re.findall("'sha256-", policy)) == 2
    assert listener.session.post(listener.url + "/", timeout=10).status_code == 404


def test_there_is_no_page_without_an_api_token(start: Start) -> None:
    response = start(apiToken=None).get("/")
    assert (response.status_code, response.content) == (404, b"not found")


def test_messages_appear_on_an_open_page_and_their_markup_stays_text_also_on_a_phone(start: Start) -> None:
    listener = start()
    send(listener, MARKUP, "x" * 160)

    async def work(browser: Browser) -> None:
        await browser.send_command(
            "Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=1, mobile=True
        )
        await enter(browser, listener, "not the token")
        await browser.wait_until("document.querySelector('#refused').innerText.includes('did not accept')")
        assert await browser.evaluate("sessionStorage.length") == 0
        await enter(browser, listener)
        await browser.wait_until("document.querySelectorAll('#list li').length === 2")
        send(listener, "comes while somebody looks")
        await browser.wait_until(f"{VISIBLE_TEXTS}[0] === 'comes while somebody looks'")
        assert await browser.evaluate(VISIBLE_TEXTS) == ["comes while somebody looks", "x" * 160, MARKUP]
        await click(browser, "#list li:last-child button")
        await browser.wait_until("document.querySelector('#detail').innerText.includes('on disk')")
        assert MARKUP in await browser.evaluate("document.querySelector('blockquote').innerText")
        assert "Not forwarded" in await browser.evaluate("document.querySelector('.journey').innerText")
        assert await browser.evaluate("document.querySelector('#injected')") is None
        assert await browser.evaluate("document.title") == "Inbox"
        assert await browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert await browser.evaluate("document.querySelector('#detail').scrollWidth <= window.innerWidth")
        unlabelled = "[...document.querySelectorAll('input, select')].filter(e => !e.labels.length).length"
        assert await browser.evaluate(unlabelled) == 0
        requested_urls = await browser.evaluate(
            "performance.getEntriesByType('resource').map(each => each.name).join()"
        )
        assert "/v1/messages/1" in requested_urls
        assert API_TOKEN not in requested_urls + await browser.evaluate(
            "location.href + document.cookie + localStorage.length"
        )

    run_in_browser(work)


@pytest.mark.long
def test_on_a_slow_network_who_leaves_and_comes_back_sees_each_text_once(start: Start) -> None:
    listener = start()
    slow = """(() => {
      const ask = window.fetch; window.asked = 0; window.most = 0; window.held = [];
      window.fetch = async (...request) => {
        window.asked += 1; window.most = Math.max(window.most, window.asked);
        const answer = await ask(...request);
        await new Promise(given => window.held.push(given));
        window.asked -= 1;
        return answer;
      };
    })()"""
    come_back = "document.dispatchEvent(new Event('visibilitychange'))"

    async def work(browser: Browser) -> None:
        await enter(browser, listener)
        await browser.wait_until("document.getElementById('state').textContent === 'Live'")
        await browser.evaluate(slow)
        await browser.wait_until("window.held.length > 0")
        send(listener, "only once")
        for _ in range(4):
            await browser.evaluate(come_back)
        await browser.evaluate("void load()")  # as a search that is typed while the answer is awaited
        await browser.evaluate(come_back)
        await browser.wait_until("window.held.length > 1")
        for _ in range(3):  # answers one after the other, oldest first; each makes room for at most one more
            await browser.evaluate("window.held.shift()()")
            await browser.wait_until("window.held.length > 0")
        assert await browser.evaluate(VISIBLE_TEXTS) == ["only once"]
        assert await browser.evaluate("window.most") == 2

    run_in_browser(work)


@pytest.mark.long
def test_search_narrows_what_is_shown_and_what_appears(start: Start) -> None:
    listener = start()
    send(listener, "T=21.5", "door open", device="5551230001")
    send(listener, "T=19.0", "Door shut", device="5551230002")
    assert listener.post(build_text_callback("T=3.0"), listener.path(OTHER_ACCOUNT)).status_code == 200

    async def work(browser: Browser) -> None:
        await enter(browser, listener)
        await browser.wait_until(f"{VISIBLE_TEXTS}.length === 5")
        await fill(browser, "contains-text", "door")
        await browser.wait_until(f"{VISIBLE_TEXTS}.join() === 'Door shut,door open'")
        send(listener, "not searched for", "DOOR open again", device="5551230003")
        await browser.wait_until(f"{VISIBLE_TEXTS}.join() === 'DOOR open again,Door shut,door open'")
        await click(browser, "#clear")
        await browser.wait_until(f"{VISIBLE_TEXTS}.length === 7")
        await fill(browser, "device", "mdn 5551230002")
        await browser.wait_until(f"{VISIBLE_TEXTS}.join() === 'Door shut,T=19.0'")
        await click(browser, "#clear")
        await fill(browser, "account", OTHER_ACCOUNT)
        await browser.wait_until(f"{VISIBLE_TEXTS}.join() === 'T=3.0'")
        await fill(browser, "until", "2001-01-01T00:00")
        await browser.wait_until("document.querySelector('#empty').innerText.includes('Nothing like that')")

    run_in_browser(work)


@pytest.mark.long
def test_older_messages_follow_and_each_is_shown_once(start: Start) -> None:
    listener = start()
    send(listener, *(f"text {number}" for number in range(120)))

    async def work(browser: Browser) -> None:
        await enter(browser, listener)
        for count in (50, 100, 120):
            await browser.wait_until(f"{VISIBLE_TEXTS}.length === {count}")
            await click(browser, "#older")
        assert await browser.evaluate(VISIBLE_TEXTS) == [f"text {number}" for number in reversed(range(120))]
        assert await browser.evaluate("document.querySelector('#older').hidden")

    run_in_browser(work)


@pytest.mark.long
def test_a_dead_letter_is_seen_with_its_reason_and_delivered_after_a_retry(start: Start, receiver: Receiver) -> None:
    receiver.responder = lambda received: (422 if received.text == MARKUP else 204, {})
    listener = start(sinks=[build_sink(receiver)])
    send(listener, "good", MARKUP)
    receiver.wait_for("good")

    async def work(browser: Browser) -> None:
        await enter(browser, listener)
        await browser.wait_until(f"{VISIBLE_TEXTS}.length === 2")
        await click(browser, "#show-dead")
        while not await browser.evaluate("document.querySelectorAll('#letters li').length"):
            await click(browser, "#again")
            await asyncio.sleep(0.1)
        assert await browser.evaluate("document.querySelector('#letters .text').innerText") == MARKUP
        assert "hub: the receiver answered 422" in await browser.evaluate(
            "document.querySelector('#letters').innerText"
        )
        await click(browser, "#letters .actions button:last-child")
        await browser.wait_until("document.querySelector('.journey').innerText.includes('Given up for hub')")
        receiver.responder = lambda _: (204, {})
        await click(browser, ".journey button")
        await browser.wait_until("!document.querySelector('.journey').innerText.includes('Given up')")
        await asyncio.to_thread(receiver.wait_for, MARKUP)
        await click(browser, "#close")
        await click(browser, "#again")
        await browser.wait_until("!document.querySelector('#no-letters').hidden")
        await asyncio.to_thread(wait_until, lambda: read_metric(listener, "thingspace_outbox_waiting") == 0)
        await click(browser, "#show-texts")
        await click(browser, "#list li:first-child button")
        await browser.wait_until("document.querySelector('.journey').innerText.includes('Delivered to hub')")

    run_in_browser(work)


@pytest.mark.long
def test_a_lost_connection_to_the_listener_is_reported_and_restored(start: Start) -> None:
    listener = start(port=reserve_port())
    send(listener, "before")

    async def work(browser: Browser) -> None:
        await enter(browser, listener)
        await browser.wait_until(f"{VISIBLE_TEXTS}.join() === 'before'")
        await asyncio.to_thread(listener.stop)
        await browser.wait_until("document.querySelector('#trouble').innerText.includes('cannot be reached')")
        again = await asyncio.to_thread(lambda: start(port=listener.port))
        send(again, "after")
        await browser.wait_until(f"{VISIBLE_TEXTS}.join() === 'after,before'")
        assert await browser.evaluate("document.querySelector('#trouble').hidden")
        await browser.evaluate("window.old = true; location.reload()")
        await browser.wait_until(
            f"!window.old && {VISIBLE_TEXTS}.join() === 'after,before'"
        )  # the token is kept as long as the tab is open
        await click(browser, "#leave")
        await browser.wait_until("document.activeElement.id === 'token'")
        assert await browser.evaluate("sessionStorage.length + document.querySelectorAll('#list li').length") == 0

    run_in_browser(work)
