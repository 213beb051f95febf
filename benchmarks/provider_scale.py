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

from scale import provider_startup
from scale.emulator import Emulator
from scale.figures import Row, Target, plot, table
from scale.stacks import Stack

BUILD = Path(__file__).resolve().parent.parent / "build"
DELAYS = (0.0, 0.1, 1.0)  # seconds that one startCallbacks takes
SIZES = (1, 50, 200, 500)
QUICK = (1, 20)
OVERLAP = 0.1  # seconds a call, at up to 200 accounts: the calls should hide behind what the engine does meanwhile
MOST_OVERLAPPING = 200
WAVES = (40, 1.0)  # accounts, seconds a call
PARALLEL = 32  # where calls take time; the engine's own default is 4 for each processor
AT_ONCE = ("--parallel", str(PARALLEL))
LONGEST_SCRIPT = 30.0  # seconds; curl one by one is left out where it would take longer
Samples = dict[str, list[float]]


def names(count: int) -> list[str]:
    """So many account names."""
    return [f"0000123456-{number:05d}" for number in range(1, count + 1)]


def pair(emulator: Emulator, accounts: list[str], samples: Samples, *flags: str) -> None:
    """One `up` of both, on stacks that are thrown away."""
    with Stack("activations", accounts, emulator.settings) as ours, Stack("nothing", accounts, {}) as floor:
        samples["up"].append(ours.up(*flags))
        samples["floorUp"].append(floor.up(*flags))


def at_once(emulator: Emulator, count: int, rounds: int) -> Row:
    """A ThingSpace that answers at once: up, no-op ups and previews of both in turn, and the state of one account."""
    accounts = names(count)
    samples: Samples = defaultdict(list)
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
    if emulator.started() != count:
        raise RuntimeError(f"{emulator.started()} calls for {count} accounts")
    return {"accounts": count, "perCall": 0.0, **_medians(samples), **script(emulator, accounts, 0.0)}


def slow(emulator: Emulator, count: int, delay: float, rounds: int) -> Row:
    """A ThingSpace that takes its time: several ups in turn with the floor where that is judged, else one."""
    accounts = names(count)
    samples: Samples = defaultdict(list)
    emulator.take(delay)
    if rounds:
        for _ in range(rounds):
            pair(emulator, accounts, samples, *AT_ONCE)
    else:
        with Stack("activations", accounts, emulator.settings) as ours:
            samples["up"].append(ours.up(*AT_ONCE))
    return {"accounts": count, "perCall": delay, **_medians(samples), **script(emulator, accounts, delay)}


def script(emulator: Emulator, accounts: list[str], delay: float) -> Row:
    """Seconds of the same calls with curl, one by one and 32 at once."""
    samples: Samples = defaultdict(list)
    if len(accounts) * delay <= LONGEST_SCRIPT:
        samples["script"].append(emulator.script(accounts, 1))
    samples["script32"].append(emulator.script(accounts, 32))
    print(f"{len(accounts)} accounts, {delay:g} s a call: done", file=sys.stderr)
    return _medians(samples)


def waves(emulator: Emulator, rounds: int) -> Row:
    """Few accounts, slow calls, many at once: whole waves of calls on top of the floor."""
    count, delay = WAVES
    samples: Samples = defaultdict(list)
    emulator.take(delay)
    for _ in range(rounds):
        pair(emulator, names(count), samples, *AT_ONCE)
    return _medians(samples)


def ready(rounds: int) -> Row:
    """Seconds until a provider process can be used, and until an empty one could."""
    samples: Samples = defaultdict(list)
    for _ in range(rounds):
        samples["ready"].append(provider_startup.ours())
        samples["empty"].append(provider_startup.empty())
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
    for it in (it for it in rows if it["perCall"] and "floorUp" in it):
        name = f"up of {it['accounts']} at {it['perCall']:g} s, --parallel {PARALLEL} / floor"
        targets.append(Target(name, it["up"] / it["floorUp"], 1.15))
    count, delay = WAVES
    least = waved["floorUp"] + math.ceil(count / PARALLEL) * delay
    targets += [
        Target(f"up of {count} at {delay:g} s, --parallel {PARALLEL} / (floor + its waves)", waved["up"] / least, 1.2),
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
    sizes = QUICK if chosen.quick else SIZES
    rounds = 1 if chosen.quick else 3
    judged = max(count for count in sizes if count <= MOST_OVERLAPPING)
    rows = []
    with Emulator(names(max(*sizes, WAVES[0]))) as emulator:
        for count in sizes:
            rows.append(at_once(emulator, count, rounds))
            rows += [
                slow(emulator, count, delay, rounds if (count, delay) == (judged, OVERLAP) else 0)
                for delay in DELAYS[1:]
            ]
        waved = waves(emulator, rounds)
    started = ready(3 * rounds)
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
