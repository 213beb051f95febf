"""How many calls one provider process has under way at once.

The SDK's provider process answers the engine from a thread pool of four, whatever `pulumi up --parallel` says, so 500
accounts at one second a call would take two minutes. There is no public way to another number. The pool starts a
thread whenever all are busy and there are fewer than `_max_workers`; raising that attribute is the whole trick. It is
private, so everything that is not exactly as expected leaves the process as the SDK made it: slower, and right.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from thingspace_provider.api.errors import ThingSpaceError

VARIABLE = "THINGSPACE_PARALLEL"
SDK_LIMIT = 4
DEFAULT = 32  # the engine's own --parallel is 4 for each processor
START_SECONDS = 10.0  # never used up: only so that nothing can wait without end
MAX_WORKERS = 256  # as many connections as the HTTP pool keeps


def read_max_workers(environment: Mapping[str, str]) -> int:
    """How many calls at once the environment asks for; raises ThingSpaceError when it is no such number."""
    value = environment.get(VARIABLE) or str(DEFAULT)
    try:
        number = int(value)
    except ValueError:
        number = 0
    if not SDK_LIMIT <= number <= MAX_WORKERS:
        raise ThingSpaceError(
            "starting the provider",
            detail=f"{VARIABLE} is {value!r}",
            hint=f"It is how many calls the provider has under way at once, from {SDK_LIMIT} (the SDK's own limit) "
            f"to {MAX_WORKERS}; {DEFAULT} when unset. To have fewer, use `pulumi up --parallel`.",
        )
    return number


def raise_max_workers(number: int) -> str:
    """Let the pool whose thread is running this have so many threads; returns why it was left alone, or "".

    Call it from a method of a provider: those run in the pool's threads. A pool is never narrowed.
    """
    try:
        pool = _current_pool()
        if pool is None:
            return "the SDK does not answer from a thread pool"
        current = pool._max_workers  # noqa: SLF001  there is no public way, see above
        if type(current) is not int:
            return f"the size of the SDK's thread pool is {current!r}"
        if number <= current:
            return ""
        pool._max_workers = number  # noqa: SLF001
        # A thread is started when something is handed in and none is said to be free. Calls that came before this wait
        # without one; so every thread is started now, by work that does not end, and frees none, before all are there.
        started = threading.Event()
        for _ in range(number):
            pool.submit(started.wait, START_SECONDS)
        started.set()
    except Exception as error:  # noqa: BLE001  a Python or SDK that is built differently
        return f"{type(error).__name__}: {error}"
    return ""


def _current_pool() -> ThreadPoolExecutor | None:
    """The pool that the present thread works for."""
    thread = threading.current_thread()
    for candidate in gc.get_objects():
        if type(candidate) is ThreadPoolExecutor and thread in candidate._threads:  # noqa: SLF001
            return candidate
    return None
