"""One JSON object a line on standard error: what happened to whom, never a body, a path or a secret."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from datetime import datetime, timezone
from typing import Any

THROTTLE_SECONDS = 10.0
LOGGER = logging.getLogger("thingspace.listener")


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "event"}` and what the event has besides."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the fields hold."""
        timestamp = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": timestamp.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1]:
            # Where, not what: the text of an exception may quote what it was working on.
            line["error"] = type(record.exc_info[1]).__name__
            line["at"] = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(record.exc_info[2])]
        return json.dumps(line)


def configure_logging() -> None:
    """Send this process's log to standard error. A server's complaints about strangers' HTTP stay out."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    logging.getLogger("asyncio").setLevel(logging.ERROR)


def log_event(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Write one line."""
    LOGGER.log(level, event, extra={"fields": fields})


class ThrottledLog:
    """Tells of each reason at once, then at most every ten seconds with how often: strangers cannot fill a disk."""

    def __init__(self) -> None:
        self._logged_at: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def warn(self, reason: str, event: str = "callback refused", **fields: Any) -> None:
        """Something was wrong with a callback."""
        now = time.monotonic()
        count = self._suppressed.get(reason, 0) + 1
        if now - self._logged_at.get(reason, -THROTTLE_SECONDS) < THROTTLE_SECONDS:
            self._suppressed[reason] = count
            return
        self._logged_at[reason], self._suppressed[reason] = now, 0
        log_event(event, logging.WARNING, reason=reason, count=count, **fields)
