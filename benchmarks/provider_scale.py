"""How long `pulumi up`, an `up` without changes and a preview take, from one account to five hundred.

Beside each stands the floor: the same with as many dynamic resources that do nothing, which is what the engine and
the SDK take. And beside the first, what one would write without Pulumi: the same calls with curl. The two take turns,
so that a slow moment of the machine hits both; figures are medians, and targets are ratios of figures of one run.

    python benchmarks/provider_scale.py           prints two tables, writes them and a plot to build/
    python benchmarks/provider_scale.py --json    prints one JSON object
    python benchmarks/provider_scale.py --quick   small numbers, once
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from scale import readiness
from scale.figures import Row, Target, plot, table
from scale.stacks import Stack
from scale.thingspace import Emulator

BUILD = Path(__file__).resolve().parent.parent / "build"
DELAYS = (0.0, 0.1, 1.0)  # seconds that one startCallbacks takes
ROUNDS = {1: 5, 50: 5, 200: 5, 500: 1}  # accounts -> how often everything is measured
QUICK = {1: 1, 20: 1}
OVERLAPPING = (0.1, 200)  # seconds a call, accounts: the calls should hide behind what the engine does meanwhile
WAVES = (40, 1.0, 32)  # accounts, seconds a call, --parallel
LONGEST_SCRIPT = 60.0  # seconds; curl one by one is left out where it would take longer
Samples = dict[str, list[float]]


def names(count: int) -> list[str]:
    """So many account names."""
    return [f"0000123456-{number:05d}" for number in range(1, count + 1)]


def ups(emulator: Emulator, accounts: list[str], delay: float, samples: Samples, *flags: str) -> None:
    """One `up` of each, on stacks that are thrown away."""
    emulator.take(delay)
    with Stack("activations", accounts, emulator.settings) as ours, Stack("nothing", accounts, {}) as floor:
        samples["up"].append(ours.up(*flags))
        samples["floorUp"].append(floor.up(*flags))
    if emulator.started() != len(accounts):
        raise RuntimeError(f"{emulator.started()} calls for {len(accounts)} accounts")


def nothing_to_do(emulator: Emulator, accounts: list[str], rounds: int, samples: Samples) -> None:
    """No-op ups and previews of both, in turn, and what the state of one account takes."""
    emulator.take(0)
    with Stack("activations", accounts, emulator.settings) as ours, Stack("nothing", accounts, {}) as floor:
        samples["up"].append(ours.up())
        samples["floorUp"].append(floor.up())
        for _ in range(rounds):
            samples["unchanged"].append(ours.unchanged())
            samples["floorUnchanged"].append(floor.unchanged())
            samples["preview"].append(ours.preview())
            samples["floorPreview"].append(floor.preview())
        samples["stateBytes"].append(ours.bytes_of("SmsCallbackActivation"))


def row(emulator: Emulator, count: int, delay: float, rounds: int) -> Row:
    """Everything about so many accounts and so slow a ThingSpace."""
    accounts = names(count)
    samples: Samples = defaultdict(list)
    if not delay:
        nothing_to_do(emulator, accounts, max(rounds, 3), samples)
    for _ in range(max(1, rounds // 2)):
        ups(emulator, accounts, delay, samples)
    emulator.take(delay)
    if count * delay <= LONGEST_SCRIPT:
        samples["script"].append(emulator.script(accounts, 1))
    samples["script32"].append(emulator.script(accounts, 32))
    print(f"{count} accounts, {delay:g} s a call: done", file=sys.stderr)
    return {"accounts": count, "perCall": delay, **_medians(samples)}


def waves(emulator: Emulator, rounds: int) -> Row:
    """Few accounts, slow calls, many at once: whole waves of calls on top of the floor."""
    count, delay, parallel = WAVES
    samples: Samples = defaultdict(list)
    for _ in range(rounds):
        ups(emulator, names(count), delay, samples, "--parallel", str(parallel))
    return _medians(samples)


def ready(rounds: int) -> Row:
    """Seconds until a provider process can be used, and until an empty one could."""
    samples: Samples = defaultdict(list)
    for _ in range(rounds):
        samples["ready"].append(readiness.ours())
        samples["empty"].append(readiness.empty())
    return _medians(samples)


def _medians(samples: Samples) -> Row:
    return {name: round(statistics.median(values), 3) for name, values in samples.items()}


def judge(rows: list[Row], waved: Row, started: Row) -> list[Target]:
    """The targets, each as a ratio."""
    targets = []
    for it in (it for it in rows if it["perCall"] == 0):
        for name, figure, floor in (
            ("no-op up", "unchanged", "floorUnchanged"),
            ("preview", "preview", "floorPreview"),
        ):
            targets.append(Target(f"{name} of {it['accounts']} / floor", it[figure] / it[floor], 1.1))
    overlapping = [it for it in rows if (it["perCall"], it["accounts"]) == OVERLAPPING] or rows[-2:-1]
    for it in overlapping:
        name = f"up of {it['accounts']} at {it['perCall']:g} s / floor"
        targets.append(Target(name, it["up"] / it["floorUp"], 1.15))
    count, delay, parallel = WAVES
    least = waved["floorUp"] + math.ceil(count / parallel) * delay
    targets += [
        Target(f"up of {count} at {delay:g} s, --parallel {parallel} / (floor + its waves)", waved["up"] / least, 1.2),
        Target("provider ready / an empty one", started["ready"] / started["empty"], 1.5),
        Target("state of an activation, kB", max(it.get("stateBytes", 0) for it in rows) / 1000, 1.0),
    ]
    return targets


def main() -> None:
    """Measure, print, and leave table and plot in build/."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="small numbers, once")
    chosen = parser.parse_args()
    sizes = QUICK if chosen.quick else ROUNDS
    with Emulator(names(max(*sizes, WAVES[0]))) as emulator:
        rows = [row(emulator, count, delay, rounds) for count, rounds in sizes.items() for delay in DELAYS]
        waved = waves(emulator, 1 if chosen.quick else 3)
    started = ready(3 if chosen.quick else 9)
    targets = judge(rows, waved, started)
    if chosen.json:
        print(json.dumps({"rows": rows, "waves": waved, "ready": started, "targets": [asdict(it) for it in targets]}))
        return
    text = table(rows, targets)
    print(text)
    plot(rows, BUILD / "provider_scale.png")
    (BUILD / "provider_scale.md").write_text(text + "\n", encoding="utf-8")
    print(f"\nplot: {BUILD / 'provider_scale.png'}")


if __name__ == "__main__":
    main()
