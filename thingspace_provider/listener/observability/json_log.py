"""Log on standard error, one JSON object a line. A record holds no body, path or secret."""

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
    """Formats a record as `{"time", "level", "logger", "event", …fields}`.

    An exception adds `error_type` and `stack`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format one record as one line."""
        timestamp = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": timestamp.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1]:
            # No message and no source lines: they can quote a callback.
            line["error_type"] = type(record.exc_info[1]).__name__
            line["stack"] = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(record.exc_info[2])]
        return json.dumps(line)


def configure_logging() -> None:
    """Log to standard error. Warnings about malformed HTTP, which anyone can cause, are dropped."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    logging.getLogger("asyncio").setLevel(logging.ERROR)


def log_event(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event. `event` is a constant in snake_case, every value is a field."""
    LOGGER.log(level, event, extra={"fields": fields})


class ThrottledLog:
    """Logs warnings at most once per key and interval, so that a client cannot fill the disk.

    The field `count` is the number of warnings since the previous record with the same key.
    """

    def __init__(self, interval_seconds: float = THROTTLE_SECONDS) -> None:
        self._interval_seconds = interval_seconds
        self._logged_at: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def warn(self, key: str, event: str, **fields: Any) -> None:
        """Log a warning, or count it when the last one with this key is too recent."""
        now = time.monotonic()
        count = self._suppressed.get(key, 0) + 1
        if now - self._logged_at.get(key, -self._interval_seconds) < self._interval_seconds:
            self._suppressed[key] = count
            return
        self._logged_at[key], self._suppressed[key] = now, 0
        log_event(event, logging.WARNING, count=count, **fields)
