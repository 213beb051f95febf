"""Benchmark of the listener: durable acknowledgements per second, memory and start time.

Three servers receive the same messages over 64 persistent connections, on the same disk in the same run:

    listener                 commits in groups
    one commit per request   same framework, one transaction for each request
    nothing stored           same framework without a store: the limit of the framework

The first two run again with 5 ms added to each sync; strace adds them inside the system call, and this part is skipped
without strace. Then one listener stores a million messages, for its memory.
The output has the time of one fdatasync, because durable figures depend on the disk.

    python benchmarks/listener_throughput.py           prints tables, writes them and a plot to build/
    python benchmarks/listener_throughput.py --json    prints one JSON object
    python benchmarks/listener_throughput.py --quick   small numbers
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from listener_bench.load import CONNECTIONS
from listener_bench.report import format_table, plot
from listener_bench.servers import COMMIT_PER_REQUEST, KINDS, LISTENER, Server, slow_sync_command

BUILD = Path(__file__).resolve().parent.parent / "build"
WARM_UP_MESSAGES = 2_000
MESSAGES = 30_000
SLOW_MESSAGES = {LISTENER: 20_000, COMMIT_PER_REQUEST: 2_000}
ADDED_SYNC_MILLISECONDS = 5
STORED_MESSAGES = 1_000_000
STEPS = 5
STARTS = 5


def measure(kind: str, folder: Path, messages: int, before: list[str] | None = None) -> dict[str, float]:
    """Load one server; return its figures with its start time and its memory at the end."""
    with Server(kind, folder, before) as server:
        server.load(min(WARM_UP_MESSAGES, messages))
        return {**server.load(messages), "ready": server.ready, "megabytes": server.megabytes}


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


def measure_all(folder: Path, divisor: int) -> dict[str, Any]:
    """Measure all figures. The divisor reduces the number of messages."""
    figures: dict[str, Any] = {"fdatasyncMilliseconds": measure_sync_milliseconds(folder), "slowDisk": None}
    figures["servers"] = {kind: measure(kind, folder / kind, MESSAGES // divisor) for kind in KINDS}
    if before := slow_sync_command(ADDED_SYNC_MILLISECONDS):
        figures["slowDisk"] = {
            kind: measure(kind, folder / f"slow {kind}", messages // divisor, before)
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
    parser.add_argument("--quick", action="store_true", help="small numbers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = measure_all(Path(name), 20 if options.quick else 1)
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
