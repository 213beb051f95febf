"""Connections to PostgreSQL that say no in time, and come back by themselves."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg

from thingspace_provider.listener.store.base import StoreError, StoreOpenError

IDLE = psycopg.pq.TransactionStatus.IDLE
CONNECT_TIMEOUT_SECONDS = 2
GRACE_SECONDS = 0.5  # that a server has to say itself that a statement took too long
WATCH_INTERVAL_SECONDS = 0.1
# Statistics of a young table mislead the planner, whose plans the functions keep: these tables are never scanned.
INDEX_SCANS_ONLY = "-c enable_seqscan=off -c enable_bitmapscan=off"


class ConnectionWatchdog:
    """Cuts connections whose server does not answer: the driver itself would wait for ever."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deadlines: dict[psycopg.Connection[Any], float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="postgres watch", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def limit(self, connection: psycopg.Connection[Any], timeout_seconds: float) -> Iterator[None]:
        """What is done inside ends within so many seconds, with an error if need be."""
        with self._lock:
            self._deadlines[connection] = time.monotonic() + timeout_seconds
        try:
            yield
        finally:
            with self._lock:
                self._deadlines.pop(connection, None)

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(WATCH_INTERVAL_SECONDS):
            with self._lock:
                now = time.monotonic()
                for connection in [expired for expired, deadline in self._deadlines.items() if deadline < now]:
                    del self._deadlines[connection]
                    with contextlib.suppress(OSError, psycopg.Error):
                        _shut_down(connection)


class Connection:
    """One connection, made when it is needed; `seconds` is what a statement may take."""

    def __init__(self, url: str, watchdog: ConnectionWatchdog, timeout_seconds: float, options: str = "") -> None:
        self._url = url
        self._watchdog = watchdog
        self._timeout_seconds = timeout_seconds
        self._options = f"-c statement_timeout={int(timeout_seconds * 1000)} -c synchronous_commit=on {options}"
        self._connection: psycopg.Connection[Any] | None = None

    def fetch_rows(self, query: str, values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Do one statement, a transaction of its own; its rows. Raises StoreFailed."""
        try:
            connection = self._connection = self._connection or connect(self._url, self._options, self._watchdog)
            with self._watchdog.limit(connection, self._timeout_seconds + GRACE_SECONDS):
                cursor = connection.execute(query.encode(), values)
                return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            if self._connection is not None and self._connection.info.transaction_status != IDLE:
                self.close()
            raise StoreError(error_text(error)) from error
        except StoreOpenError as error:
            raise StoreError(str(error)) from error

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class ConnectionPool:
    """As many links as are used at the same time; any thread may borrow one."""

    def __init__(self, url: str, watchdog: ConnectionWatchdog, timeout_seconds: float, options: str = "") -> None:
        self._arguments = (url, watchdog, timeout_seconds, options)
        self._idle: queue.SimpleQueue[Connection] = queue.SimpleQueue()

    def fetch_rows(self, query: str, values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """As Link.rows."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self.open_connection()
        try:
            return connection.fetch_rows(query, values)
        finally:
            self._idle.put(connection)

    def open_connection(self) -> Connection:
        """One that is not shared; who asked for it closes it."""
        return Connection(*self._arguments)

    def close(self) -> None:
        """Close what is idle; call it when nobody borrows any more."""
        while not self._idle.empty():
            self._idle.get_nowait().close()


def connect(url: str, options: str, watchdog: ConnectionWatchdog) -> psycopg.Connection[Any]:
    """A connection that commits each statement durably. Raises psycopg.Error, StoreUnusable when it could not."""
    connection = psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        options=options,
        application_name="thingspace listener",
    )
    try:
        with watchdog.limit(connection, CONNECT_TIMEOUT_SECONDS):
            _check_server(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def error_text(error: psycopg.Error) -> str:
    """What the server or the driver said, in one line; without the server's details, which quote rows."""
    return " ".join((error.diag.message_primary or str(error)).split()) or type(error).__name__


def _check_server(connection: psycopg.Connection[Any]) -> None:
    """What this session cannot be told: the server itself must write durably, and text as it came."""
    query = "SELECT current_setting('fsync'), current_setting('server_encoding'), pg_is_in_recovery()"
    [(fsync, encoding, standby)] = connection.execute(query).fetchall()
    if fsync != "on":
        raise StoreOpenError("this PostgreSQL server has fsync = off and can lose what it committed: set it to on")
    if encoding != "UTF8":
        raise StoreOpenError(f"this PostgreSQL database is in {encoding}: create one WITH ENCODING 'UTF8'")
    if standby:
        raise StoreOpenError("this PostgreSQL server is a standby, which stores nothing: give the primary's address")


def _shut_down(connection: psycopg.Connection[Any]) -> None:
    with socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)
