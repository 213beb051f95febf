"""Concurrent senders, as ThingSpace has them, that record the acknowledged messages."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import zlib

from tests.support.listener_process import ListenerProcess, build_text_callback
from tests.support.waiting import join_thread

CONNECTIONS = 16
MESSAGES_PER_CONNECTION = 10  # then the sender opens another connection


class LoadSenders:
    """Sends numbered messages over several connections until the listener exits, all are sent, or `end` is called.

    No text is sent twice. `acknowledged` has those that were answered with 200. Every second one has a request id.
    Each connection is a device of its own, other prefixes are other devices.
    """

    def __init__(
        self,
        listener: ListenerProcess,
        prefix: str,
        connections: int = CONNECTIONS,
        messages_per_sender: int = 1_000_000,
    ) -> None:
        self.acknowledged: list[str] = []
        self._address = listener.port, listener.path()
        self._prefix = prefix
        self._device = f"{zlib.crc32(prefix.encode()):010}"
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(number, messages_per_sender)) for number in range(connections)
        ]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Wait until every sender has ended."""
        for thread in self._threads:
            join_thread(thread, 30)

    def end(self) -> None:
        """Stop all senders."""
        self._ended.set()
        self.wait()

    def _send(self, sender: int, message_count: int) -> None:
        port, path = self._address
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            for number in range(message_count):
                if self._ended.is_set():
                    return
                name = f"{self._prefix}-{sender}-{number}"
                if number % MESSAGES_PER_CONNECTION == 0:
                    connection.close()
                request = name if number % 2 else None
                body = json.dumps(build_text_callback(name, device=f"{self._device}{sender:02}", requestId=request))
                try:
                    connection.request("POST", path, body)
                    response = connection.getresponse()
                    response.read()
                except (OSError, http.client.HTTPException):
                    return
                if response.status == http.client.OK:
                    self.acknowledged.append(name)
