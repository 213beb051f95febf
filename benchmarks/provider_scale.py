"""Benchmark of `pulumi up`, `up` without changes and `preview`, from 1 to 500 accounts.

The baseline is a stack with the same number of dynamic resources without any function: the time of Pulumi alone.
A script with the same calls by curl shows the time without Pulumi. Stack and baseline are measured alternately, so that
load on the machine affects both. Figures are medians, and targets are ratios of figures of one run.

    python benchmarks/provider_scale.py           prints two tables, writes them and a plot to build/
    python benchmarks/provider_scale.py --json    prints one JSON object
    python benchmarks/provider_scale.py --quick   small numbers, once, without the target for 200 accounts
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
DELAYS = (0.0, 0.1, 1.0)  # seconds of one startCallbacks call
SIZES = (1, 50, 200, 500)
QUICK = (1, 20)
OVERLAP = 0.1  # seconds of one call, which the work of the engine should hide for this many accounts
OVERLAPPING_ACCOUNTS = 200
WAVES = (40, 1.0)  # accounts, seconds of one call
PARALLEL = 32  # for calls with a delay; Pulumi's default is 4 per processor
PARALLEL_FLAGS = ("--parallel", str(PARALLEL))
MAX_SCRIPT_SECONDS = 30.0  # sequential curl is skipped when it would take longer
Samples = dict[str, list[float]]


def build_account_names(count: int) -> list[str]:
    """Return distinct account names."""
    return [f"0000123456-{number:05d}" for number in range(1, count + 1)]


def measure_pair(emulator: Emulator, accounts: list[str], samples: Samples, *flags: str) -> None:
    """Measure one `up` of stack and baseline, on temporary stacks."""
    with Stack("activations", accounts, emulator.settings) as ours, Stack("noop", accounts, {}) as baseline:
        samples["up"].append(ours.up(*flags))
        samples["baselineUp"].append(baseline.up(*flags))


def measure_immediate(emulator: Emulator, count: int, rounds: int) -> Row:
    """Measure up, no-op ups, previews and the state size while ThingSpace responds without delay."""
    accounts = build_account_names(count)
    samples: Samples = defaultdict(list)
    emulator.set_call_delay(0)
    with Stack("activations", accounts, emulator.settings) as ours, Stack("noop", accounts, {}) as baseline:
        samples["up"].append(ours.up())
        samples["baselineUp"].append(baseline.up())
        for _ in range(rounds):
            samples["unchanged"].append(ours.unchanged())
            samples["baselineUnchanged"].append(baseline.unchanged())
            samples["preview"].append(ours.preview())
            samples["baselinePreview"].append(baseline.preview())
        samples["stateBytes"].append(ours.measure_state_bytes("SmsCallbackActivation"))
    if emulator.count_started() != count:
        raise RuntimeError(f"{emulator.count_started()} calls for {count} accounts")
    return {"accounts": count, "perCall": 0.0, **_medians(samples), **measure_script(emulator, accounts, 0.0)}


def measure_slow(emulator: Emulator, count: int, delay: float, rounds: int) -> Row:
    """Measure one up with delayed calls; with `rounds`, several ups alternating with the baseline."""
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
    """Measure the same calls by curl in seconds, sequentially and 32 at a time."""
    samples: Samples = defaultdict(list)
    if len(accounts) * delay <= MAX_SCRIPT_SECONDS:
        samples["script"].append(emulator.run_script(accounts, 1))
    samples["script32"].append(emulator.run_script(accounts, 32))
    print(f"{len(accounts)} accounts, {delay:g} s per call: done", file=sys.stderr)
    return _medians(samples)


def measure_waves(emulator: Emulator, rounds: int) -> Row:
    """Measure few accounts with slow calls, where the update takes the baseline plus full waves of calls."""
    count, delay = WAVES
    samples: Samples = defaultdict(list)
    emulator.set_call_delay(delay)
    for _ in range(rounds):
        measure_pair(emulator, build_account_names(count), samples, *PARALLEL_FLAGS)
    return _medians(samples)


def measure_ready(rounds: int) -> Row:
    """Measure the start of a provider process and of an empty one in seconds."""
    samples: Samples = defaultdict(list)
    for _ in range(rounds):
        samples["ready"].append(provider_startup.measure_provider())
        samples["empty"].append(provider_startup.measure_empty())
    return _medians(samples)


def _medians(samples: Samples) -> Row:
    return {name: round(statistics.median(values), 3) for name, values in samples.items()}


def judge(rows: list[Row], waved: Row, started: Row) -> list[Target]:
    """Return the targets, each as a ratio."""
    targets = []
    for row in (it for it in rows if it["perCall"] == 0):
        for name, figure, baseline in (
            ("no-op up", "unchanged", "baselineUnchanged"),
            ("preview", "preview", "baselinePreview"),
        ):
            targets.append(Target(f"{name} of {row['accounts']} / baseline", row[figure] / row[baseline], 1.1))
    for row in (it for it in rows if it["perCall"] and "baselineUp" in it):
        name = f"up of {row['accounts']} at {row['perCall']:g} s, --parallel {PARALLEL} / baseline"
        targets.append(Target(name, row["up"] / row["baselineUp"], 1.15))
    count, delay = WAVES
    min_seconds = waved["baselineUp"] + math.ceil(count / PARALLEL) * delay
    targets += [
        Target(
            f"up of {count} at {delay:g} s, --parallel {PARALLEL} / (baseline + waves)", waved["up"] / min_seconds, 1.2
        ),
        Target("provider start / empty provider start", started["ready"] / started["empty"], 1.5),
        Target("state of an activation, kB", max(it.get("stateBytes", 0) for it in rows) / 1000, 1.05),
    ]
    return targets


def main() -> None:
    """Measure, print, and write table and plot to build/."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="small numbers, once")
    options = parser.parse_args()
    sizes = QUICK if options.quick else SIZES
    rounds = 1 if options.quick else 3
    rows = []
    with Emulator(build_account_names(max(*sizes, WAVES[0]))) as emulator:
        for count in sizes:
            rows.append(measure_immediate(emulator, count, rounds))
            rows += [
                measure_slow(emulator, count, delay, rounds if (count, delay) == (OVERLAPPING_ACCOUNTS, OVERLAP) else 0)
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
