"""Reading the queue: blocks of a hundred, each acknowledged by presenting the token that came with it."""

from __future__ import annotations

import datetime as dt
import secrets
from itertools import islice
from urllib.parse import quote

from thingspace_provider.emulator.api.request_bodies import rejection
from thingspace_provider.emulator.api.responses import SMS_PREFIX, ApiResponse, empty_response, json_response
from thingspace_provider.emulator.platform.state import Account, DeviceMessage, HistoryPage
from thingspace_provider.emulator.platform.switches import Switches

PAGE_SIZE = 100
ZONE = dt.timezone(dt.timedelta(hours=-5))


def read_history(name: str, account: Account, token: str | None, switches: Switches) -> ApiResponse:
    """Answer one history call: 202 and a Location while more than this block is queued, else 200.

    Presenting the current block's token drops that block; presenting the token before it once more changes
    nothing and shows the same block again, so that an answer lost on the way can be asked for again.
    """
    if token is not None and token != account.acknowledged_token:
        if account.history_page is not None and token == account.history_page.token:
            _acknowledge(account)
            account.acknowledged_token = token
        elif switches["unknownPageToken"] == "rejected":
            raise rejection(SMS_PREFIX, "REQUEST_FAILED.UnexpectedError", "The next value is not known.")
    if account.history_page is not None and not any(number in account.queue for number in account.history_page.numbers):
        account.history_page = None
    if account.history_page is None and account.queue:
        account.history_page = HistoryPage(_new_token(), list(islice(account.queue, PAGE_SIZE)))
    elif account.history_page is not None and token is None and switches["repeatedPageToken"] == "newToken":
        account.history_page.token = _new_token()
    return _page_response(name, account, switches)


def format_timestamp(moment: float) -> str:
    """ISO 8601 with an offset, whole seconds, as the vendor's samples show it."""
    return dt.datetime.fromtimestamp(int(moment), ZONE).isoformat()


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
    ids = [{"kind": kind, "id": value} for kind, value in message.device.ids.items()]
    return {"deviceIds": ids, "message": message.text, "timestamp": format_timestamp(message.received)}


def _new_token() -> str:
    """Decimal digits: one vendor client reads the value as an integer, so it stays below 2**53."""
    return str(secrets.randbelow(9 * 10**14) + 10**14)
