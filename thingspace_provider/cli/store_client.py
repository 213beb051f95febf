"""Reader of a SQLite store that no listener serves. It changes and creates no file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from starlette.datastructures import QueryParams

from thingspace_provider.cli.listener_client import ListenerClientError, MessageFilters
from thingspace_provider.listener.admin.messages_api import InvalidParameter, build_page
from thingspace_provider.listener.message_json import history_to_json
from thingspace_provider.listener.store.base import StoreError
from thingspace_provider.listener.store.sqlite.connections import open_unserved_reader
from thingspace_provider.listener.store.sqlite.reader import SqliteReader

T = TypeVar("T")
MAX_ID_DIGITS = 18  # of 64 bits


class StoreClient:
    """Reader of one store, with the results of ListenerClient. Raises ListenerClientError."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ListenerClientError(f"there is no store {path}. Give the path of a listener's SQLite file")
        self._path = path
        self._reader = SqliteReader(path, open_unserved_reader)

    def fetch_newest(self, count: int, filters: MessageFilters) -> list[dict[str, Any]]:
        """Return the newest messages, oldest first."""
        given: Mapping[str, str] = {name: value for name, value in filters.items() if value is not None}
        parameters = QueryParams({"newest": str(count), **given})
        messages: list[dict[str, Any]] = self._read(lambda: build_page(self._reader.find, parameters)["messages"])
        return messages

    def fetch_message(self, message_id: str) -> dict[str, Any] | None:
        """Return one message with its deliveries, or None if the store does not have it."""
        if not message_id.isdecimal() or len(message_id) > MAX_ID_DIGITS:
            return None
        history = self._read(lambda: self._reader.delivery_history(int(message_id)))
        return history_to_json(history) if history else None

    def _read(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except InvalidParameter as error:
            raise ListenerClientError(str(error)) from None
        except StoreError as error:
            raise ListenerClientError(
                f"cannot read the store {self._path}: {error}. If another version wrote it, start a listener on it once"
            ) from None
