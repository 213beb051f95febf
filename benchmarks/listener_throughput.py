"""How many texts a second the listener acknowledges durably, how it grows and starts, beside what one writes first.

Three servers take the same texts over 64 kept connections, one after the other, on the same disk in the same run:
the listener; a receiver of the same framework that commits each request by itself; and one that stores nothing,
which is the most that the framework can do. Then the first two once more, with 5 ms added to each sync (by strace,
inside the system call; left out where strace is missing). Then a million texts through one listener, for its memory.
The time of one fdatasync of the disk is printed, because durable figures mean nothing without it.

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
from listener_bench.report import plot, table
from listener_bench.servers import EACH, KINDS, LISTENER, Server, slowed

BUILD = Path(__file__).resolve().parent.parent / "build"
WARM = 2_000
TEXTS = 30_000
SLOW_TEXTS = {LISTENER: 20_000, EACH: 2_000}
MORE_MILLISECONDS = 5
STORED = 1_000_000
STEPS = 5
STARTS = 5


def measure(kind: str, folder: Path, texts: int, before: list[str] | None = None) -> dict[str, float]:
    """Load one server; also how soon it was ready and how much memory it had at the end."""
    with Server(kind, folder, before) as server:
        server.load(min(WARM, texts))
        return {**server.load(texts), "ready": server.ready, "megabytes": server.megabytes}


def growth(folder: Path, texts: int) -> list[tuple[int, float]]:
    """Megabytes of a listener by how many texts it has stored since it began."""
    with Server(LISTENER, folder) as server:
        points = [(0, server.megabytes)]
        for step in range(1, STEPS + 1):
            server.load(texts // STEPS)
            points.append((step * (texts // STEPS), server.megabytes))
    return points


def start_seconds(kind: str, folder: Path, *, anew: bool) -> float:
    """The median of several starts, on the same folder or each on a new one."""
    took = []
    for number in range(STARTS):
        with Server(kind, folder / str(number) if anew else folder) as server:
            took.append(server.ready)
    return statistics.median(took)


def sync_milliseconds(folder: Path) -> float:
    """The median time of one fdatasync after 4 kB, as a commit needs it."""
    took = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1000


def everything(folder: Path, divisor: int) -> dict[str, Any]:
    """All figures, with fewer texts by the divisor."""
    figures: dict[str, Any] = {"fdatasyncMilliseconds": sync_milliseconds(folder), "slowDisk": None}
    figures["servers"] = {kind: measure(kind, folder / kind, TEXTS // divisor) for kind in KINDS}
    if before := slowed(MORE_MILLISECONDS):
        figures["slowDisk"] = {
            kind: measure(kind, folder / f"slow {kind}", texts // divisor, before) for kind, texts in SLOW_TEXTS.items()
        }
    figures["growth"] = growth(folder / "growth", STORED // divisor)
    (folder / "starts").mkdir()
    figures["starts"] = {
        "empty": start_seconds(LISTENER, folder / "starts", anew=True),
        "full": start_seconds(LISTENER, folder / "growth", anew=False),
    }
    return figures


def main() -> None:
    """Measure, print, and leave tables and plot in build/."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="small numbers")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = everything(Path(name), 20 if chosen.quick else 1)
    if chosen.json:
        print(json.dumps(figures))
        return
    head = f"{CONNECTIONS} connections; one fdatasync takes {figures['fdatasyncMilliseconds']:.2f} ms\n\n"
    text = head + table(figures)
    print(text)
    plot(figures, BUILD / "listener_acknowledgements.png")
    (BUILD / "listener_acknowledgements.md").write_text(text + "\n", encoding="utf-8")
    print(f"\nplot: {BUILD / 'listener_acknowledgements.png'}")


if __name__ == "__main__":
    main()
