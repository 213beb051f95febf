"""Concurrency of the provider process: raises the size of the SDK's thread pool.

The SDK's provider process serves the engine from four threads, whatever `pulumi up --parallel` is. With calls of one
second, 500 accounts would take two minutes. The SDK has no public setting for it. The pool starts a thread when all
are busy and there are fewer than `_max_workers`, so this module raises that private attribute. If the pool is not
exactly as expected, the module changes nothing: the provider is slower, and still correct.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from thingspace_provider.api.errors import ThingSpaceError

VARIABLE = "THINGSPACE_PARALLEL"
SDK_WORKERS = 4
DEFAULT_WORKERS = 32  # `pulumi up --parallel` is four per processor by default
MAX_WORKERS = 256  # the size of the HTTP connection pool
START_TIMEOUT_SECONDS = 10.0  # never reached; ensures that no thread waits forever


def read_max_workers(environment: Mapping[str, str]) -> int:
    """Return the number of concurrent resource operations. Raises ThingSpaceError if it is invalid."""
    value = environment.get(VARIABLE) or str(DEFAULT_WORKERS)
    try:
        number = int(value)
    except ValueError:
        number = 0
    if not SDK_WORKERS <= number <= MAX_WORKERS:
        raise ThingSpaceError(
            "starting the provider",
            detail=f"{VARIABLE} is {value!r}",
            hint=f"Set the number of concurrent resource operations, from {SDK_WORKERS} to {MAX_WORKERS}; "
            f"the default is {DEFAULT_WORKERS}. For fewer, use `pulumi up --parallel`.",
        )
    return number


def raise_max_workers(number: int) -> str:
    """Raise the number of threads of the pool that runs the caller. Never lowers it.

    Call it from a method of a provider, which runs in a thread of that pool. Returns "", or the reason why the pool
    was not changed.
    """
    try:
        pool = _current_pool()
        if pool is None:
            return "the SDK does not use a thread pool"
        current = pool._max_workers  # noqa: SLF001  there is no public name, see above
        if type(current) is not int:
            return f"the size of the SDK's thread pool is {current!r}"
        if number <= current:
            return ""
        pool._max_workers = number  # noqa: SLF001
        # The pool starts a thread only on submit, and only if none is idle. Calls that already wait need one too, so
        # start all threads now. No task ends before the last is submitted, so no thread becomes idle meanwhile.
        all_submitted = threading.Event()
        for _ in range(number):
            pool.submit(all_submitted.wait, START_TIMEOUT_SECONDS)
        all_submitted.set()
    except Exception as error:  # noqa: BLE001  another Python or SDK version may raise anything
        return f"{type(error).__name__}: {error}"
    return ""


def _current_pool() -> ThreadPoolExecutor | None:
    """Return the pool of the current thread."""
    thread = threading.current_thread()
    for candidate in gc.get_objects():
        if type(candidate) is ThreadPoolExecutor and thread in candidate._threads:  # noqa: SLF001
            return candidate
    return None
