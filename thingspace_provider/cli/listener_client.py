"""HTTP client of a listener's API: messages, deliveries and dead letters.

A listener is selected by its URL, or by the settings files of the local listeners that `pulumi up` started.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from thingspace_provider.common.urls import is_loopback

CONNECT_TIMEOUT_SECONDS, RESPONSE_TIMEOUT_SECONDS = 3, 15
UNAVAILABLE_STATUSES = (502, 503, 504)  # the store fails, or a proxy does not reach the listener
PAGE_SIZE = 1000
RESULT_KEYS = {"retry": "retried", "discard": "discarded"}  # action on dead letters -> key of the count in the response
TOKEN_VARIABLE = "THINGSPACE_LISTENER_API_TOKEN"  # noqa: S105  a name


MessageFilters = Mapping[str, "str | None"]  # parameters of /v1/messages that narrow the selection


class ListenerClientError(Exception):
    """Messages cannot be read. The text names the listener, the reason and the fix."""


class ListenerUnavailable(ListenerClientError):
    """The listener does not respond, or cannot read its store. A retry may succeed."""


@dataclass
class ListenerClient:
    """Client of one listener. `cursor` is the id after which reading continues; None is the beginning.

    `store` is the path or address of a local listener's store.
    """

    url: str
    token: str = field(repr=False)
    is_local: bool = False
    store: str = ""
    cursor: str | None = None

    def __post_init__(self) -> None:
        self._session = requests.Session()
        self._session.trust_env = not self.is_local  # never use a proxy for loopback addresses
        self._session.auth = self._authorize

    def fetch_newest(self, count: int, filters: MessageFilters) -> list[dict[str, Any]]:
        """Return the newest messages, oldest first, and set the cursor behind them."""
        return self._fetch_page({"newest": min(count, PAGE_SIZE), **filters})

    def fetch_next(self, filters: MessageFilters) -> list[dict[str, Any]]:
        """Return at most one page of the messages behind the cursor, and advance it."""
        return self._fetch_page({"after": self.cursor, "limit": PAGE_SIZE, **filters})

    def fetch_message(self, message_id: str) -> dict[str, Any] | None:
        """Return one message with its deliveries, or None if the listener does not have it."""
        return self._request("GET", f"/v1/messages/{quote(message_id, safe='')}", {}, "deliveries")

    def fetch_dead_letters(self) -> list[dict[str, Any]]:
        """Return every dead letter, oldest first."""
        letters: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = self._request("GET", "/v1/dead-letters", {"after": cursor, "limit": PAGE_SIZE}, "deadLetters")
            if not page or not page["deadLetters"]:
                return letters
            letters += page["deadLetters"]
            cursor = page["next"]

    def change_dead_letters(self, action: str, message_id: str | None, sink: str | None) -> int:
        """Retry or discard one dead letter, or all, and return their number. `action` is `retry` or `discard`."""
        id_segment = "" if message_id is None else f"/{quote(message_id, safe='')}"
        result_key = RESULT_KEYS[action]
        response = self._request("POST", f"/v1/dead-letters{id_segment}/{action}", {"sink": sink}, result_key)
        return int(response[result_key]) if response else 0

    def _fetch_page(self, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        response = self._request("GET", "/v1/messages", parameters, "messages")
        if response is None:
            raise ListenerClientError(f"{self.url} is not a listener. Check the URL")
        self.cursor = response["next"]
        messages: list[dict[str, Any]] = response["messages"]
        return messages

    def _request(self, method: str, path: str, parameters: dict[str, Any], result_key: str) -> dict[str, Any] | None:
        """Return the response, which has `result_key`; None if the listener responds that it does not exist."""
        try:
            response = self._session.request(
                method,
                f"{self.url}{path}",
                params={name: value for name, value in parameters.items() if value is not None},
                timeout=(CONNECT_TIMEOUT_SECONDS, RESPONSE_TIMEOUT_SECONDS),
                allow_redirects=False,
            )
        except requests.Timeout:
            raise ListenerUnavailable(f"the listener at {self.url} does not respond. See its log") from None
        except (requests.RequestException, ValueError):  # ValueError: the host of the URL cannot be a name
            hint = "Check the URL, and that the listener runs"
            if self.is_local:
                hint = f"Run `pulumi up` to start it, or read its store: thingspace messages --store {self.store}"
            raise ListenerUnavailable(f"cannot connect to the listener at {self.url}. {hint}") from None
        if response.status_code == requests.codes.unauthorized:
            raise ListenerClientError(
                f"the listener at {self.url} rejected the API token. Set {TOKEN_VARIABLE} to its apiToken"
            )
        try:
            document = dict(response.json())
        except (ValueError, TypeError):
            document = {}
        if response.ok and result_key in document:
            return document
        error_class = ListenerUnavailable if response.status_code in UNAVAILABLE_STATUSES else ListenerClientError
        if "error" not in document:
            raise error_class(
                f"{self.url} responded with {response.status_code}, and not as a listener does. Give its admin address"
            )
        if response.status_code == requests.codes.not_found:
            return None
        error = str(document["error"])
        is_client_error = response.status_code in (requests.codes.bad_request, requests.codes.conflict)
        raise error_class(error if is_client_error else f"the listener at {self.url}: {error}")

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Set the token. As the session's auth, because an entry in ~/.netrc would replace a plain header."""
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


def remote_client(url: str, environment: Mapping[str, str]) -> ListenerClient:
    """Return a client of the listener at the URL. The API token comes from the environment, never from an argument.

    Raises ListenerClientError if the token is missing or malformed, or would be sent unencrypted to another machine.
    """
    token = environment.get(TOKEN_VARIABLE)
    if not token:
        raise ListenerClientError(
            f"the API token for {url} is missing. Set {TOKEN_VARIABLE} to the listener's apiToken"
        )
    if not (token.isascii() and token.isprintable()):
        raise ListenerClientError(f"{TOKEN_VARIABLE} holds characters that no apiToken has. Correct it")
    if url.lower().startswith("http:") and not is_loopback(_host(url)):
        raise ListenerClientError(f"{url} would receive the API token unencrypted. Use https")
    return ListenerClient(url.rstrip("/"), token)


def select_clients(url: str | None, state_dir: Path, environment: Mapping[str, str]) -> list[ListenerClient]:
    """Return the client for the URL or, without one, the clients of all local listeners.

    Raises ListenerClientError if there is none.
    """
    return [remote_client(url, environment)] if url else local_clients(state_dir)


def local_clients(state_dir: Path) -> list[ListenerClient]:
    """Return the clients of the local listeners, from their settings files."""
    clients = [_client_from_file(file) for file in sorted(state_dir.glob("listeners/*/settings.json"))]
    if not clients:
        raise ListenerClientError(
            f"there is no local listener under {state_dir}. Run `pulumi up` or `make demo`, name another folder with "
            "--state-dir, or a remote listener with --url"
        )
    return clients


def _client_from_file(file: Path) -> ListenerClient:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        url = f"http://{settings['adminHost']}:{int(settings['adminPort'])}"
        return ListenerClient(url, settings["apiToken"], is_local=True, store=settings["store"])
    except OSError as error:
        raise ListenerClientError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise ListenerClientError(f"{file} is not the settings file of a local listener") from None


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
