"""History: reads the queue in pages of 100 messages. The next-page token acknowledges a page."""

from __future__ import annotations

import datetime as dt
import secrets
from itertools import islice
from urllib.parse import quote

from thingspace_provider.emulator.api.responses import (
    SMS_PREFIX,
    ApiResponse,
    empty_response,
    json_response,
    rejection,
)
from thingspace_provider.emulator.platform.state import Account, DeviceMessage, HistoryPage
from thingspace_provider.emulator.platform.switches import Switches

PAGE_SIZE = 100
ZONE = dt.timezone(dt.timedelta(hours=-5))


def read_history(name: str, account: Account, token: str | None, switches: Switches) -> ApiResponse:
    """Return a history page, with 202 and a Location while further messages are queued, else with 200.

    The token of the current page removes its messages from the queue. The previous token returns the current page
    again, so that a client can repeat a call whose response was lost.
    """
    if token is not None and token != account.acknowledged_token:
        if account.history_page is not None and token == account.history_page.token:
            _acknowledge(account)
            account.acknowledged_token = token
        elif switches["unknownPageToken"] == "rejected":
            raise rejection(SMS_PREFIX, "REQUEST_FAILED.UnexpectedError", "The next value is unknown.")
    if account.history_page is not None and not any(number in account.queue for number in account.history_page.numbers):
        account.history_page = None
    if account.history_page is None and account.queue:
        account.history_page = HistoryPage(_new_token(), list(islice(account.queue, PAGE_SIZE)))
    elif account.history_page is not None and token is None and switches["repeatedPageToken"] == "newToken":
        account.history_page.token = _new_token()
    return _page_response(name, account, switches)


def format_timestamp(seconds: float) -> str:
    """Format a time in ISO 8601 with an offset and whole seconds, as in ThingSpace's samples."""
    return dt.datetime.fromtimestamp(int(seconds), ZONE).isoformat()


def _page_response(name: str, account: Account, switches: Switches) -> ApiResponse:
    page = account.history_page
    if page is None:
        if switches["emptyHistory"] == "zeroLength":
            return empty_response()
        return json_response({"messages": [], "hasMoreData": False})
    messages = [account.queue[number] for number in page.numbers if number in account.queue]
    has_more = len(account.queue) > len(messages)
    body = {"messages": [_message_to_json(message) for message in messages], "hasMoreData": has_more}
    location = {"Location": f"/sms/{quote(name, safe='')}/history?next={page.token}"}
    if has_more:
        return json_response(body, 202, location)
    if switches["lastPage"] == "auto":
        _acknowledge(account)
        return json_response(body)
    return json_response(body, 200, location if switches["lastPage"] == "location" else None)


def _acknowledge(account: Account) -> None:
    if account.history_page is not None:
        for number in account.history_page.numbers:
            account.queue.pop(number, None)
    account.history_page = None


def _message_to_json(message: DeviceMessage) -> dict[str, object]:
    ids = [{"kind": kind, "id": value} for kind, value in message.ids.items()]
    return {"deviceIds": ids, "message": message.text, "timestamp": format_timestamp(message.received)}


def _new_token() -> str:
    """Create a page token. It is a number below 2**53, because one vendor client parses it as an integer."""
    return str(secrets.randbelow(9 * 10**14) + 10**14)
