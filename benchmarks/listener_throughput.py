"""Benchmark of the listener: durable acknowledgements per second, memory and start time.

Several servers receive the same messages over 64 persistent connections, on the same disk, in turn and several times:

    nothing stored           same framework without a store: the limit of the framework
    listener                 on SQLite, commits in groups
    one commit per request   same framework, one SQLite transaction for each request
    hookspool 0.2.0          another durable receiver, with its own framework
    N on PostgreSQL          one, two and four listeners on one PostgreSQL server

Targets are ratios of medians of one run, because processor and disk change the absolute figures. The listener and one
commit per request run again with 5 ms added to each sync; strace adds them inside the system call, and this part is
skipped without strace. Then one listener stores a million messages, for its memory.

    python benchmarks/listener_throughput.py           prints tables, writes them and a plot to build/
    python benchmarks/listener_throughput.py --json    prints one JSON object
    python benchmarks/listener_throughput.py --quick   small numbers, once
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from listener_bench import hookspool
from listener_bench.load import CONNECTIONS
from listener_bench.report import format_table, plot
from listener_bench.servers import (
    COMMIT_PER_REQUEST,
    HOOKSPOOL,
    LISTENER,
    NOTHING_STORED,
    POSTGRES,
    Replicas,
    Server,
    slow_sync_command,
)

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(1, str(ROOT))  # for the PostgreSQL server of the tests

from tests.support import postgres_server  # noqa: E402

BUILD = ROOT / "build"
ROUNDS = 3
WARM_UP_MESSAGES = 2_000
MESSAGES = 30_000
HOOKSPOOL_MESSAGES = 1_000
SLOW_MESSAGES = {LISTENER: 20_000, COMMIT_PER_REQUEST: 2_000}
ADDED_SYNC_MILLISECONDS = 5
STORED_MESSAGES = 1_000_000
STEPS = 5
STARTS = 5


def measure(server: Any, messages: int) -> dict[str, float]:
    """Load one server; return its figures with its start time and its memory at the end."""
    with server:
        server.load(min(WARM_UP_MESSAGES, messages // 5))
        return {**server.load(messages), "ready": server.ready, "megabytes": server.megabytes}


def measure_in_turn(
    folder: Path, starts: dict[str, Callable[[Path], Any]], messages: dict[str, int], rounds: int
) -> dict[str, dict[str, float]]:
    """Measure each server in each round, so that load on the machine affects all. Returns medians."""
    samples = defaultdict(list)
    for number in range(rounds):
        for kind, start in starts.items():
            samples[kind].append(measure(start(folder / f"{kind} {number}"), messages[kind]))
            print(f"round {number + 1}: {kind}: {samples[kind][-1]['perSecond']:,.0f} messages/s", file=sys.stderr)
    return {
        kind: {name: statistics.median(row[name] for row in rows) for name in rows[0]} for kind, rows in samples.items()
    }


def measure_servers(folder: Path, rounds: int, divisor: int) -> dict[str, dict[str, float]]:
    """Measure all servers that can run on this machine."""
    messages = defaultdict(lambda: MESSAGES // divisor, {HOOKSPOOL: HOOKSPOOL_MESSAGES // divisor})
    starts: dict[str, Callable[[Path], Any]] = {
        kind: lambda folder, kind=kind: Server(kind, folder) for kind in (NOTHING_STORED, LISTENER, COMMIT_PER_REQUEST)
    }
    if reason := hookspool.install():
        print(reason, file=sys.stderr)
    else:
        starts[HOOKSPOOL] = hookspool.Hookspool
    if reason := postgres_server.get_skip_reason():
        print(reason, file=sys.stderr)
        return measure_in_turn(folder, starts, messages, rounds)
    server = postgres_server.PostgresServer()
    for count, kind in POSTGRES.items():
        starts[kind] = lambda folder, count=count: Replicas(count, folder, server.create_database())
    try:
        return measure_in_turn(folder, starts, messages, rounds)
    finally:
        server.remove()


def measure_growth(folder: Path, messages: int) -> list[tuple[int, float]]:
    """Return the memory of a listener in MB for growing numbers of stored messages."""
    with Server(LISTENER, folder) as server:
        points = [(0, server.megabytes)]
        for step in range(1, STEPS + 1):
            server.load(messages // STEPS)
            points.append((step * (messages // STEPS), server.megabytes))
    return points


def measure_start_seconds(kind: str, folder: Path, *, use_new_folder: bool) -> float:
    """Return the median of several starts, on the same folder or each on a new one."""
    durations = []
    for number in range(STARTS):
        with Server(kind, folder / str(number) if use_new_folder else folder) as server:
            durations.append(server.ready)
    return statistics.median(durations)


def measure_sync_milliseconds(folder: Path) -> float:
    """Return the median time of one fdatasync after 4 kB, as in a commit."""
    durations = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            durations.append(time.perf_counter() - begun)
    return statistics.median(durations) * 1000


def measure_all(folder: Path, rounds: int, divisor: int) -> dict[str, Any]:
    """Measure all figures. The divisor reduces the number of messages."""
    figures: dict[str, Any] = {"fdatasyncMilliseconds": measure_sync_milliseconds(folder), "slowDisk": None}
    figures["servers"] = measure_servers(folder, rounds, divisor)
    if before := slow_sync_command(ADDED_SYNC_MILLISECONDS):
        figures["slowDisk"] = {
            kind: measure(Server(kind, folder / f"slow {kind}", before), messages // divisor)
            for kind, messages in SLOW_MESSAGES.items()
        }
    figures["growth"] = measure_growth(folder / "growth", STORED_MESSAGES // divisor)
    (folder / "starts").mkdir()
    figures["starts"] = {
        "empty": measure_start_seconds(LISTENER, folder / "starts", use_new_folder=True),
        "full": measure_start_seconds(LISTENER, folder / "growth", use_new_folder=False),
    }
    return figures


def main() -> None:
    """Measure, print, and write tables and plot to build/."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="small numbers, once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = measure_all(Path(name), *((1, 20) if options.quick else (ROUNDS, 1)))
    if options.json:
        print(json.dumps(figures))
        return
    head = f"{CONNECTIONS} connections; one fdatasync takes {figures['fdatasyncMilliseconds']:.2f} ms\n\n"
    report = head + format_table(figures)
    print(report)
    plot(figures, BUILD / "listener_throughput.png")
    (BUILD / "listener_throughput.md").write_text(report + "\n", encoding="utf-8")
    print(f"\nplot: {BUILD / 'listener_throughput.png'}")


if __name__ == "__main__":
    main()
