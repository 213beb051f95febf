"""Reading the queue: blocks of a hundred, each acknowledged by presenting the token that came with it."""

from __future__ import annotations

import datetime as dt
import secrets
from itertools import islice
from urllib.parse import quote

from thingspace_provider.emulator.api.request_bodies import refuse
from thingspace_provider.emulator.api.responses import SMS_PREFIX, Answer, answer_empty, answer_json
from thingspace_provider.emulator.platform.state import Account, Block, Text
from thingspace_provider.emulator.platform.switches import Switches

BLOCK = 100
ZONE = dt.timezone(dt.timedelta(hours=-5))


def read_history(name: str, account: Account, token: str | None, switches: Switches) -> Answer:
    """Answer one history call: 202 and a Location while more than this block is queued, else 200.

    Presenting the current block's token drops that block; presenting the token before it once more changes
    nothing and shows the same block again, so that an answer lost on the way can be asked for again.
    """
    if token is not None and token != account.presented:
        if account.block is not None and token == account.block.token:
            _acknowledge(account)
            account.presented = token
        elif switches["unknownNext"] == "refused":
            raise refuse(SMS_PREFIX, "REQUEST_FAILED.UnexpectedError", "The next value is not known.")
    if account.block is not None and not any(number in account.queue for number in account.block.numbers):
        account.block = None
    if account.block is None and account.queue:
        account.block = Block(_token(), list(islice(account.queue, BLOCK)))
    elif account.block is not None and token is None and switches["plainHistory"] == "newToken":
        account.block.token = _token()
    return _show(name, account, switches)


def timestamp(moment: float) -> str:
    """ISO 8601 with an offset, whole seconds, as the vendor's samples show it."""
    return dt.datetime.fromtimestamp(int(moment), ZONE).isoformat()


def _show(name: str, account: Account, switches: Switches) -> Answer:
    block = account.block
    if block is None:
        if switches["emptyHistory"] == "zeroLength":
            return answer_empty()
        return answer_json({"messages": [], "hasMoreData": False})
    shown = [account.queue[number] for number in block.numbers if number in account.queue]
    more = len(account.queue) > len(shown)
    body = {"messages": [_message(text) for text in shown], "hasMoreData": more}
    location = {"Location": f"/sms/{quote(name, safe='')}/history?next={block.token}"}
    if more:
        return answer_json(body, 202, location)
    if switches["finalBlock"] == "auto":
        _acknowledge(account)
        return answer_json(body)
    return answer_json(body, 200, location if switches["finalBlock"] == "location" else None)


def _acknowledge(account: Account) -> None:
    if account.block is not None:
        for number in account.block.numbers:
            account.queue.pop(number, None)
    account.block = None


def _message(text: Text) -> dict[str, object]:
    ids = [{"kind": kind, "id": value} for kind, value in text.device.ids.items()]
    return {"deviceIds": ids, "message": text.message, "timestamp": timestamp(text.received)}


def _token() -> str:
    """Decimal digits: one vendor client reads the value as an integer, so it stays below 2**53."""
    return str(secrets.randbelow(9 * 10**14) + 10**14)
