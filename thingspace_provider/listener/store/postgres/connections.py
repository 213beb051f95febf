"""Sessions of PostgreSQL: each statement ends in time, and a session that has failed is replaced."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Generator, Mapping
from typing import Any, TypeVar

import psycopg
from psycopg.errors import Diagnostic, IdleSessionTimeout

from thingspace_provider.listener.store.base import StoreError, StoreOpenError

T = TypeVar("T")
CONNECT_TIMEOUT_SECONDS = 2
GRACE_SECONDS = 0.5  # for the server to report its own statement timeout
KEEPALIVE_IDLE_SECONDS = 30  # less than the idle timeouts of NAT and load balancers
# Role, database, environment and poolers can change these, so each session sets them by statement and reads them back.
# PgBouncer rejects the startup parameter "options", or ignores it.
PARAMETERS = {
    "client_encoding": "UTF8",
    "default_transaction_isolation": "read committed",  # the functions must see what was committed before their lock
    "jit": "off",  # compiling a statement takes longer than running it
    "lock_timeout": "0",  # the statement timeout bounds the wait for the write lock
    "search_path": "thingspace",
    "synchronous_commit": "on",
}
# Statistics of a young table mislead the planner, whose plans the functions keep: these tables are never scanned.
INDEX_SCANS_ONLY = {"enable_seqscan": "off", "enable_bitmapscan": "off"}
SET_PARAMETERS = """
SELECT name, set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS parameter (name, value)
"""
GET_PARAMETERS = "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name"
BACKEND_PID = "SELECT pg_backend_pid()"
POOLING_CHECKS = 5
REPLICATION_WAIT = "SyncRepWaitForLSN"
TRANSACTION_POOLING = "a pooler in front of PostgreSQL pools transactions: set its pool_mode to session"
SERVER_STATE = "SELECT current_setting('fsync'), current_setting('server_encoding'), pg_is_in_recovery()"


class Session(psycopg.Connection[Any]):
    """Connection whose statements fail at a deadline. The driver waits without limit for a server that hangs.

    `is_unreplicated` is set when a commit that waits for its synchronous standby was cancelled: the server then reports
    success, although a failover would lose the transaction.
    """

    deadline = 0.0
    is_unreplicated = False

    def record_cancelled_wait(self, message: Diagnostic) -> None:
        """Handle a message of the server. The name of its function does not depend on the language, as its text."""
        self.is_unreplicated |= message.source_function == REPLICATION_WAIT

    def check_replicated(self) -> None:
        """Raise OperationalError if a commit did not wait for its synchronous standby."""
        if self.is_unreplicated:
            raise psycopg.OperationalError("the commit did not wait for its synchronous standby")

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Run one step of the protocol. Raises OperationalError at the deadline."""
        return super().wait(self._until_deadline(gen), *args, **kwargs)

    def _until_deadline(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        try:
            state = next(gen)
            while True:
                ready = yield state  # the driver resumes this at least every 0.1 seconds
                if time.monotonic() > self.deadline:
                    raise psycopg.OperationalError("the server did not respond in time")
                state = gen.send(ready)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def has_input(self) -> bool:
        """Return whether the server has sent something unasked: it has ended the session, or a setting changed."""
        poll = select.poll()
        poll.register(self, select.POLLIN)
        return bool(poll.poll(0))


class ConnectionPool:
    """As many sessions as are used at the same time. Any thread can run a statement.

    Args:
        url: the address of the database.
        timeout_seconds: of a statement.
        parameters: of each session, beside PARAMETERS.
        connect_timeout_seconds: of a connection attempt.
        grace_seconds: between the server's statement timeout and the end of the connection.
    """

    def __init__(
        self,
        url: str,
        timeout_seconds: float,
        parameters: Mapping[str, str],
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._parameters = {**PARAMETERS, **parameters, "statement_timeout": str(int(timeout_seconds * 1000))}
        self._connect_timeout_seconds = connect_timeout_seconds
        self._grace_seconds = grace_seconds
        self._idle: list[Session] = []

    def fetch_rows(self, query: str, values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run one statement, a transaction of its own, and return its rows. Raises StoreError.

        It is retried once, on a new session, if it certainly has no effect: nothing was sent, or the server reported
        an ERROR, which rolls the transaction back. A session that ends while a statement runs may have ended after
        the commit. Then there is no retry, because it would store messages twice.
        """
        try:
            if session := self._take_idle():
                try:
                    return self._run(session, query, values)
                except psycopg.Error as error:
                    if not _has_no_effect(error):
                        raise
            return self._run(self.open_session(), query, values)
        except psycopg.Error as error:
            raise StoreError(error_text(error)) from error
        except StoreOpenError as error:
            raise StoreError(str(error)) from error

    def open_session(self) -> Session:
        """Open a session that commits each statement durably. Raises psycopg.Error and StoreOpenError."""
        session = Session.connect(
            self._url,
            autocommit=True,
            connect_timeout=int(self._connect_timeout_seconds),
            client_encoding=PARAMETERS["client_encoding"],
            application_name="thingspace listener",
            keepalives_idle=KEEPALIVE_IDLE_SECONDS,
        )
        try:
            session.deadline = time.monotonic() + self._connect_timeout_seconds
            session.add_notice_handler(session.record_cancelled_wait)  # glossary: allow
            _check_server(session)
            _set_parameters(session, self._parameters)
        except BaseException:
            session.close()
            raise
        session.deadline = time.monotonic() + self._timeout_seconds + self._grace_seconds
        return session

    def close(self) -> None:
        """Close the idle sessions. No thread may run a statement any more."""
        while self._idle:
            self._idle.pop().close()

    def _take_idle(self) -> Session | None:
        with contextlib.suppress(IndexError):  # no idle session is left
            while (session := self._idle.pop()).has_input():
                session.close()
            return session
        return None

    def _run(self, session: Session, query: str, values: dict[str, Any] | None) -> list[tuple[Any, ...]]:
        """Run a statement. Every error closes the session, because it may be unable to run any other."""
        try:
            session.deadline = time.monotonic() + self._timeout_seconds + self._grace_seconds
            cursor = session.execute(query.encode(), values)
            rows = cursor.fetchall() if cursor.description else []
            session.check_replicated()
        except BaseException:
            session.close()
            raise
        self._idle.append(session)
        return rows


def check_session_pooling(first: Session, second: Session) -> None:
    """Raise StoreOpenError if two open sessions share server processes, so that neither keeps its parameters.

    A pooler that pools transactions reuses the process that became idle last. Other clients can hide that for a while.
    """
    pids = [session.execute(BACKEND_PID).fetchone() for _ in range(POOLING_CHECKS) for session in (first, second)]
    if len(set(pids[::2])) > 1 or pids[0] in pids[1::2]:
        raise StoreOpenError(TRANSACTION_POOLING)


def error_text(error: psycopg.Error) -> str:
    """Return the message of server or driver in one line, without the server's details, which quote rows."""
    return " ".join((error.diag.message_primary or str(error)).split()) or type(error).__name__


def _has_no_effect(error: psycopg.Error) -> bool:
    """Return whether a retry is safe, and useful: a statement timeout would only be repeated."""
    # The server ends an idle session between two statements only, although it reports that as FATAL.
    if isinstance(error, IdleSessionTimeout):
        return True
    return error.diag.severity_nonlocalized == "ERROR" and not isinstance(error, psycopg.errors.QueryCanceled)


def _check_server(session: Session) -> None:
    """Raise StoreOpenError if the server cannot store every message durably."""
    [(fsync, encoding, is_standby)] = session.execute(SERVER_STATE).fetchall()
    if fsync != "on":
        raise StoreOpenError("this PostgreSQL server has fsync = off and can lose what it committed: set it to on")
    if encoding != "UTF8":
        raise StoreOpenError(
            f"the PostgreSQL database {session.info.dbname} has the encoding {encoding}, which cannot hold every "
            "message: create one WITH ENCODING 'UTF8' TEMPLATE template0"
        )
    if is_standby:
        raise StoreOpenError("this PostgreSQL server is a standby, which stores nothing: give the primary's address")


def _set_parameters(session: Session, parameters: Mapping[str, str]) -> None:
    """Set the parameters of a session. Raises StoreOpenError if they do not last until the next statement."""
    names = list(parameters)
    applied = session.execute(SET_PARAMETERS, (names, list(parameters.values()))).fetchall()
    if lost := sorted(set(applied) - set(session.execute(GET_PARAMETERS, (names,)).fetchall())):
        raise StoreOpenError(f"a session has lost its parameter {lost[0][0]}; {TRANSACTION_POOLING}")
