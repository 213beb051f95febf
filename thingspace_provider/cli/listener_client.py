"""The inboxes that `thingspace messages` reads: one by its URL, or the local ones by the settings they run with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

CONNECT_SECONDS, ANSWER_SECONDS = 3, 15
NOT_NOW = (502, 503, 504)  # the listener's store does not work, or a proxy does not reach the listener
PAGE = 1000
SETTLED = {"retry": "retried", "discard": "discarded"}  # what is done with dead letters, and how the answer says so
TOKEN_VARIABLE = "THINGSPACE_LISTENER_API_TOKEN"  # noqa: S105  a name


Wanted = Mapping[str, "str | None"]  # parameters of /v1/messages that narrow what is read


class Unread(Exception):
    """Messages cannot be had; the text says from where, why, and what to do."""


class Unreachable(Unread):
    """Nothing answers there now, or only that it cannot: later it may."""


@dataclass
class Inbox:
    """One listener. `cursor` is where reading goes on; None is the beginning."""

    url: str
    token: str = field(repr=False)
    is_local: bool = False
    cursor: str | None = None

    def __post_init__(self) -> None:
        self._session = requests.Session()
        self._session.trust_env = not self.is_local  # no proxy stands between this machine and itself
        self._session.auth = self._sign

    def newest(self, count: int, wanted: Wanted) -> list[dict[str, Any]]:
        """The newest messages, oldest first; `later` goes on behind them."""
        answer = self._ask({"last": min(count, PAGE), **wanted})
        self.cursor = answer["next"]
        messages: list[dict[str, Any]] = answer["messages"]
        return messages

    def later(self, wanted: Wanted) -> list[dict[str, Any]]:
        """What came since the last question, at most one page of it."""
        answer = self._ask({"after": self.cursor, "limit": PAGE, **wanted})
        self.cursor = answer["next"]
        messages: list[dict[str, Any]] = answer["messages"]
        return messages

    def journey(self, number: str) -> dict[str, Any] | None:
        """One message and how far it is with each sink, or None when it is not there."""
        return self._asked("GET", f"/v1/messages/{quote(number, safe='')}", {}, "deliveries")

    def dead_letters(self) -> list[dict[str, Any]]:
        """Every dead letter, oldest first."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = self._asked("GET", "/v1/dead-letters", {"after": cursor, "limit": PAGE}, "deadLetters")
            if not page or not page["deadLetters"]:
                return found
            found += page["deadLetters"]
            cursor = page["next"]

    def settle(self, verb: str, number: str | None, sink: str | None) -> int:
        """`retry` or `discard` one dead letter, or all; how many there were."""
        part = "" if number is None else f"/{quote(number, safe='')}"
        done = SETTLED[verb]
        answer = self._asked("POST", f"/v1/dead-letters{part}/{verb}", {"sink": sink}, done)
        return int(answer[done]) if answer else 0

    def _ask(self, parameters: dict[str, Any]) -> dict[str, Any]:
        answer = self._asked("GET", "/v1/messages", parameters, "messages")
        if answer is None:
            raise Unread(f"{self.url} is no listener: check the URL")
        return answer

    def _asked(self, method: str, path: str, parameters: dict[str, Any], expected: str) -> dict[str, Any] | None:
        """The answer, which has the key `expected`; None when the listener says that it is not there."""
        try:
            answer = self._session.request(
                method,
                f"{self.url}{path}",
                params={name: value for name, value in parameters.items() if value is not None},
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                allow_redirects=False,
            )
        except requests.Timeout:
            raise Unreachable(f"the listener at {self.url} does not answer: see its log") from None
        except (requests.RequestException, ValueError):  # the latter for a URL whose host can be no name
            way_out = "`pulumi up` starts it again" if self.is_local else "check the URL, and that it runs"
            raise Unreachable(f"no listener can be reached at {self.url}: {way_out}") from None
        if answer.status_code == requests.codes.unauthorized:
            raise Unread(f"the listener at {self.url} refused the token: give its apiToken in {TOKEN_VARIABLE}")
        try:
            document = dict(answer.json())
        except (ValueError, TypeError):
            document = {}
        if answer.ok and expected in document:
            return document
        kind = Unreachable if answer.status_code in NOT_NOW else Unread
        if "error" not in document:
            raise kind(f"{self.url} answered {answer.status_code}, and not as a listener does: check the URL")
        if answer.status_code == requests.codes.not_found:
            return None
        error = str(document["error"])
        refused = answer.status_code in (requests.codes.bad_request, requests.codes.conflict)
        raise kind(error if refused else f"the listener at {self.url}: {error}")

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """As the session's auth, because a password for this host in ~/.netrc would displace a mere header."""
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


def at(url: str, environment: Mapping[str, str]) -> Inbox:
    """The inbox at a URL; its token comes from the environment, never from an argument."""
    token = environment.get(TOKEN_VARIABLE)
    if not token:
        raise Unread(f"the token to read {url} with is missing: put the listener's apiToken into {TOKEN_VARIABLE}")
    if not (token.isascii() and token.isprintable()):
        raise Unread(f"the token in {TOKEN_VARIABLE} is not the apiToken of a listener: it has other characters")
    return Inbox(url.rstrip("/"), token)


def chosen(url: str | None, state_dir: Path, environment: Mapping[str, str]) -> list[Inbox]:
    """The inbox at the URL, or without one the local ones. Raises Unread."""
    return [at(url, environment)] if url else local(state_dir)


def local(state_dir: Path) -> list[Inbox]:
    """The inboxes of the local listeners, by the settings files that they run with."""
    found = [_of(file) for file in sorted(state_dir.glob("listeners/*/settings.json"))]
    if not found:
        raise Unread(
            f"there is no local listener under {state_dir}: run `pulumi up` or `make demo` first, say where with "
            "--state-dir, or give the --url of a listener elsewhere"
        )
    return found


def _of(file: Path) -> Inbox:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        url = f"http://{settings['host']}:{int(settings['port'])}"
        return Inbox(url, settings["apiToken"], is_local=True)
    except OSError as reason:
        raise Unread(f"{file} cannot be read: {reason.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise Unread(f"{file} is not the settings file of a local listener") from None
