"""Limits of a client: timeouts and the rate of calls."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How long a resource operation can take, and how often ThingSpace can be called.

    Args:
        resource_timeout_seconds: for one resource operation, with all attempts, backoffs and logins.
        response_timeout_seconds: for one response.
        calls_per_second: over all threads. ThingSpace publishes no rate limit for these calls.
    """

    resource_timeout_seconds: float = 120.0
    response_timeout_seconds: float = 30.0
    calls_per_second: float = 100.0
