"""The inboxes that `thingspace messages` reads: one by its URL, or the local ones by the settings they run with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

CONNECT_TIMEOUT_SECONDS, RESPONSE_TIMEOUT_SECONDS = 3, 15
UNAVAILABLE_STATUSES = (502, 503, 504)  # the listener's store does not work, or a proxy does not reach the listener
PAGE_SIZE = 1000
RESULT_KEYS = {"retry": "retried", "discard": "discarded"}  # what is done with dead letters, and how the answer says so
TOKEN_VARIABLE = "THINGSPACE_LISTENER_API_TOKEN"  # noqa: S105  a name


MessageFilters = Mapping[str, "str | None"]  # parameters of /v1/messages that narrow what is read


class ListenerClientError(Exception):
    """Messages cannot be had; the text says from where, why, and what to do."""


class ListenerUnavailable(ListenerClientError):
    """Nothing answers there now, or only that it cannot: later it may."""


@dataclass
class ListenerClient:
    """One listener. `cursor` is where reading goes on; None is the beginning."""

    url: str
    token: str = field(repr=False)
    is_local: bool = False
    cursor: str | None = None

    def __post_init__(self) -> None:
        self._session = requests.Session()
        self._session.trust_env = not self.is_local  # no proxy stands between this machine and itself
        self._session.auth = self._authorize

    def fetch_newest(self, count: int, filters: MessageFilters) -> list[dict[str, Any]]:
        """The newest messages, oldest first; `later` goes on behind them."""
        response = self._get_messages({"last": min(count, PAGE_SIZE), **filters})
        self.cursor = response["next"]
        messages: list[dict[str, Any]] = response["messages"]
        return messages

    def fetch_next(self, filters: MessageFilters) -> list[dict[str, Any]]:
        """What came since the last question, at most one page of it."""
        response = self._get_messages({"after": self.cursor, "limit": PAGE_SIZE, **filters})
        self.cursor = response["next"]
        messages: list[dict[str, Any]] = response["messages"]
        return messages

    def fetch_message(self, message_id: str) -> dict[str, Any] | None:
        """One message and how far it is with each sink, or None when it is not there."""
        return self._request("GET", f"/v1/messages/{quote(message_id, safe='')}", {}, "deliveries")

    def fetch_dead_letters(self) -> list[dict[str, Any]]:
        """Every dead letter, oldest first."""
        letters: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = self._request("GET", "/v1/dead-letters", {"after": cursor, "limit": PAGE_SIZE}, "deadLetters")
            if not page or not page["deadLetters"]:
                return letters
            letters += page["deadLetters"]
            cursor = page["next"]

    def change_dead_letters(self, verb: str, message_id: str | None, sink: str | None) -> int:
        """`retry` or `discard` one dead letter, or all; how many there were."""
        id_segment = "" if message_id is None else f"/{quote(message_id, safe='')}"
        result_key = RESULT_KEYS[verb]
        response = self._request("POST", f"/v1/dead-letters{id_segment}/{verb}", {"sink": sink}, result_key)
        return int(response[result_key]) if response else 0

    def _get_messages(self, parameters: dict[str, Any]) -> dict[str, Any]:
        response = self._request("GET", "/v1/messages", parameters, "messages")
        if response is None:
            raise ListenerClientError(f"{self.url} is no listener: check the URL")
        return response

    def _request(self, method: str, path: str, parameters: dict[str, Any], expected: str) -> dict[str, Any] | None:
        """The answer, which has the key `expected`; None when the listener says that it is not there."""
        try:
            response = self._session.request(
                method,
                f"{self.url}{path}",
                params={name: value for name, value in parameters.items() if value is not None},
                timeout=(CONNECT_TIMEOUT_SECONDS, RESPONSE_TIMEOUT_SECONDS),
                allow_redirects=False,
            )
        except requests.Timeout:
            raise ListenerUnavailable(f"the listener at {self.url} does not answer: see its log") from None
        except (requests.RequestException, ValueError):  # the latter for a URL whose host can be no name
            hint = "`pulumi up` starts it again" if self.is_local else "check the URL, and that it runs"
            raise ListenerUnavailable(f"no listener can be reached at {self.url}: {hint}") from None
        if response.status_code == requests.codes.unauthorized:
            raise ListenerClientError(
                f"the listener at {self.url} refused the token: give its apiToken in {TOKEN_VARIABLE}"
            )
        try:
            document = dict(response.json())
        except (ValueError, TypeError):
            document = {}
        if response.ok and expected in document:
            return document
        error_class = ListenerUnavailable if response.status_code in UNAVAILABLE_STATUSES else ListenerClientError
        if "error" not in document:
            raise error_class(f"{self.url} answered {response.status_code}, and not as a listener does: check the URL")
        if response.status_code == requests.codes.not_found:
            return None
        error = str(document["error"])
        is_client_error = response.status_code in (requests.codes.bad_request, requests.codes.conflict)
        raise error_class(error if is_client_error else f"the listener at {self.url}: {error}")

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """As the session's auth, because a password for this host in ~/.netrc would displace a mere header."""
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


def remote_client(url: str, environment: Mapping[str, str]) -> ListenerClient:
    """The inbox at a URL; its token comes from the environment, never from an argument."""
    token = environment.get(TOKEN_VARIABLE)
    if not token:
        raise ListenerClientError(
            f"the token to read {url} with is missing: put the listener's apiToken into {TOKEN_VARIABLE}"
        )
    if not (token.isascii() and token.isprintable()):
        raise ListenerClientError(
            f"the token in {TOKEN_VARIABLE} is not the apiToken of a listener: it has other characters"
        )
    return ListenerClient(url.rstrip("/"), token)


def select_clients(url: str | None, state_dir: Path, environment: Mapping[str, str]) -> list[ListenerClient]:
    """The inbox at the URL, or without one the local ones. Raises Unread."""
    return [remote_client(url, environment)] if url else local_clients(state_dir)


def local_clients(state_dir: Path) -> list[ListenerClient]:
    """The inboxes of the local listeners, by the settings files that they run with."""
    clients = [_client_from_file(file) for file in sorted(state_dir.glob("listeners/*/settings.json"))]
    if not clients:
        raise ListenerClientError(
            f"there is no local listener under {state_dir}: run `pulumi up` or `make demo` first, say where with "
            "--state-dir, or give the --url of a listener elsewhere"
        )
    return clients


def _client_from_file(file: Path) -> ListenerClient:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        url = f"http://{settings['host']}:{int(settings['port'])}"
        return ListenerClient(url, settings["apiToken"], is_local=True)
    except OSError as error:
        raise ListenerClientError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise ListenerClientError(f"{file} is not the settings file of a local listener") from None
