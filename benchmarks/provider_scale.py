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
from scale.figures import Row, Target, format_table, plot
from scale.stacks import Stack

BUILD = Path(__file__).resolve().parent.parent / "build"
DELAYS = (0.0, 0.1, 1.0)  # seconds that one startCallbacks takes
SIZES = (1, 50, 200, 500)
QUICK = (1, 20)
OVERLAP = 0.1  # seconds a call, at up to 200 accounts: the calls should hide behind what the engine does meanwhile
MAX_OVERLAPPING_ACCOUNTS = 200
WAVES = (40, 1.0)  # accounts, seconds a call
PARALLEL = 32  # where calls take time; the engine's own default is 4 for each processor
PARALLEL_FLAGS = ("--parallel", str(PARALLEL))
MAX_SCRIPT_SECONDS = 30.0  # seconds; curl one by one is left out where it would take longer
Samples = dict[str, list[float]]


def build_account_names(count: int) -> list[str]:
    """So many account names."""
    return [f"0000123456-{number:05d}" for number in range(1, count + 1)]


def measure_pair(emulator: Emulator, accounts: list[str], samples: Samples, *flags: str) -> None:
    """One `up` of both, on stacks that are thrown away."""
    with Stack("activations", accounts, emulator.settings) as ours, Stack("noop", accounts, {}) as baseline:
        samples["up"].append(ours.up(*flags))
        samples["floorUp"].append(baseline.up(*flags))


def measure_immediate(emulator: Emulator, count: int, rounds: int) -> Row:
    """A ThingSpace that answers at once: up, no-op ups and previews of both in turn, and the state of one account."""
    accounts = build_account_names(count)
    samples: Samples = defaultdict(list)
    emulator.set_call_delay(0)
    with Stack("activations", accounts, emulator.settings) as ours, Stack("noop", accounts, {}) as baseline:
        samples["up"].append(ours.up())
        samples["floorUp"].append(baseline.up())
        for _ in range(rounds):
            samples["unchanged"].append(ours.unchanged())
            samples["floorUnchanged"].append(baseline.unchanged())
            samples["preview"].append(ours.preview())
            samples["floorPreview"].append(baseline.preview())
        samples["stateBytes"].append(ours.measure_state_bytes("SmsCallbackActivation"))
    if emulator.count_started() != count:
        raise RuntimeError(f"{emulator.count_started()} calls for {count} accounts")
    return {"accounts": count, "perCall": 0.0, **_medians(samples), **measure_script(emulator, accounts, 0.0)}


def measure_slow(emulator: Emulator, count: int, delay: float, rounds: int) -> Row:
    """A ThingSpace that takes its time: several ups in turn with the floor where that is judged, else one."""
    accounts = build_account_names(count)
    samples: Samples = defaultdict(list)
    emulator.set_call_delay(delay)
    if rounds:
        for _ in range(rounds):
            measure_pair(emulator, accounts, samples, *PARALLEL_FLAGS)
    else:
        with Stack("activations", accounts, emulator.settings) as ours:
            samples["up"].append(ours.up(*PARALLEL_FLAGS))
    return {"accounts": count, "perCall": delay, **_medians(samples), **measure_script(emulator, accounts, delay)}


def measure_script(emulator: Emulator, accounts: list[str], delay: float) -> Row:
    """Seconds of the same calls with curl, one by one and 32 at once."""
    samples: Samples = defaultdict(list)
    if len(accounts) * delay <= MAX_SCRIPT_SECONDS:
        samples["script"].append(emulator.run_script(accounts, 1))
    samples["script32"].append(emulator.run_script(accounts, 32))
    print(f"{len(accounts)} accounts, {delay:g} s a call: done", file=sys.stderr)
    return _medians(samples)


def measure_waves(emulator: Emulator, rounds: int) -> Row:
    """Few accounts, slow calls, many at once: whole waves of calls on top of the floor."""
    count, delay = WAVES
    samples: Samples = defaultdict(list)
    emulator.set_call_delay(delay)
    for _ in range(rounds):
        measure_pair(emulator, build_account_names(count), samples, *PARALLEL_FLAGS)
    return _medians(samples)


def measure_ready(rounds: int) -> Row:
    """Seconds until a provider process can be used, and until an empty one could."""
    samples: Samples = defaultdict(list)
    for _ in range(rounds):
        samples["ready"].append(provider_startup.measure_provider())
        samples["empty"].append(provider_startup.measure_empty())
    return _medians(samples)


def _medians(samples: Samples) -> Row:
    return {name: round(statistics.median(values), 3) for name, values in samples.items()}


def judge(rows: list[Row], waved: Row, started: Row) -> list[Target]:
    """The targets, each as a ratio."""
    targets = []
    for row in (it for it in rows if it["perCall"] == 0):
        for name, figure, baseline in (
            ("no-op up", "unchanged", "floorUnchanged"),
            ("preview", "preview", "floorPreview"),
        ):
            targets.append(Target(f"{name} of {row['accounts']} / floor", row[figure] / row[baseline], 1.1))
    for row in (it for it in rows if it["perCall"] and "floorUp" in it):
        name = f"up of {row['accounts']} at {row['perCall']:g} s, --parallel {PARALLEL} / floor"
        targets.append(Target(name, row["up"] / row["floorUp"], 1.15))
    count, delay = WAVES
    min_seconds = waved["floorUp"] + math.ceil(count / PARALLEL) * delay
    targets += [
        Target(
            f"up of {count} at {delay:g} s, --parallel {PARALLEL} / (floor + its waves)", waved["up"] / min_seconds, 1.2
        ),
        Target("provider ready / an empty one", started["ready"] / started["empty"], 1.5),
        Target("state of an activation, kB", max(it.get("stateBytes", 0) for it in rows) / 1000, 1.0),
    ]
    return targets


def main() -> None:
    """Measure, print, and leave table and plot in build/."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="small numbers, once")
    options = parser.parse_args()
    sizes = QUICK if options.quick else SIZES
    rounds = 1 if options.quick else 3
    judged = max(count for count in sizes if count <= MAX_OVERLAPPING_ACCOUNTS)
    rows = []
    with Emulator(build_account_names(max(*sizes, WAVES[0]))) as emulator:
        for count in sizes:
            rows.append(measure_immediate(emulator, count, rounds))
            rows += [
                measure_slow(emulator, count, delay, rounds if (count, delay) == (judged, OVERLAP) else 0)
                for delay in DELAYS[1:]
            ]
        waved = measure_waves(emulator, rounds)
    started = measure_ready(3 * rounds)
    targets = judge(rows, waved, started)
    if options.json:
        print(
            json.dumps(
                {"rows": rows, "waves": waved, "ready": started, "targets": [asdict(target) for target in targets]}
            )
        )
        return
    report = format_table(rows, targets)
    print(report)
    plot(rows, BUILD / "provider_scale.png")
    (BUILD / "provider_scale.md").write_text(report + "\n", encoding="utf-8")
    print(f"\nplot: {BUILD / 'provider_scale.png'}")


if __name__ == "__main__":
    main()
