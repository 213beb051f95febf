"""Tables and plot of the measured figures, with their targets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEAD = ("", "messages/s", "p50 ms", "p99 ms", "rejected", "ready s", "MB")


@dataclass(frozen=True)
class Target:
    """Figure with its minimum (positive `sign`) or maximum (negative `sign`)."""

    name: str
    figure: float
    bound: float
    sign: int

    @property
    def line(self) -> str:
        """Return one row of the table of targets."""
        met = self.sign * (self.figure - self.bound) >= 0
        word = "at least" if self.sign > 0 else "at most"
        return f"| {self.name} | {self.figure:,.3g} | {word} {self.bound:,g} | {'met' if met else 'MISSED'} |"


def build_targets(figures: dict[str, Any]) -> list[Target]:
    """Return the targets. Rates are compared within one run."""
    rates = {name: row["perSecond"] for name, row in figures["servers"].items()}
    listener, nothing_stored = rates["listener"], rates["nothing stored"]
    results = [
        Target("listener / nothing stored", listener / nothing_stored, 0.6, 1),
        Target("listener / one commit per request", listener / rates["one commit per request"], 1.5, 1),
        Target("99th percentile of the response time, ms", figures["servers"]["listener"]["p99"], 25, -1),
    ]
    if rate := rates.get("hookspool 0.2.0"):
        results.append(Target("listener / hookspool 0.2.0", listener / rate, 1, 1))
    if one := rates.get("1 on PostgreSQL"):
        results += [
            Target("1 on PostgreSQL / nothing stored", one / nothing_stored, 0.4, 1),
            Target("2 on PostgreSQL / 1 on PostgreSQL", rates["2 on PostgreSQL"] / one, 1, 1),
        ]
    if slow := figures["slowDisk"]:
        ratio = slow["listener"]["perSecond"] / slow["one commit per request"]["perSecond"]
        results.append(Target("with 5 ms more per sync: listener / one commit per request", ratio, 5, 1))
    messages, megabytes = figures["growth"][-1]
    return [
        *results,
        Target(f"MB with {messages:,} stored messages", megabytes, 100, -1),
        Target("seconds to start", figures["starts"]["empty"], 0.7, -1),
        Target(f"seconds to start with {messages:,} stored messages", figures["starts"]["full"], 0.7, -1),
    ]


def format_table(figures: dict[str, Any]) -> str:
    """Return all tables in Markdown."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---|" + "---:|" * (len(HEAD) - 1)]
    lines += [_row(name, row) for name, row in figures["servers"].items()]
    lines += [_row(f"{name}, 5 ms more per sync", row) for name, row in (figures["slowDisk"] or {}).items()]
    lines += ["", "| stored messages | MB |", "|---:|---:|"]
    lines += [f"| {messages:,} | {megabytes:.0f} |" for messages, megabytes in figures["growth"]]
    lines += [
        "",
        "| target | measured | | |",
        "|---|---:|---|---|",
        *(target.line for target in build_targets(figures)),
    ]
    return "\n".join(lines)


def _row(name: str, row: dict[str, float]) -> str:
    cells = f"{row['perSecond']:.0f} | {row['p50']:.2f} | {row['p99']:.2f} | {row['rejected']:.0f}"
    return f"| {name} | {cells} | {row['ready']:.2f} | {row['megabytes']:.0f} |"


def plot(figures: dict[str, Any], file: Path) -> None:
    """Plot messages per second on this and on a slow disk, and memory over stored messages."""
    import matplotlib as mpl  # noqa: PLC0415  half a second that --json does not need

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for shift, (label, rows) in enumerate(
        [("this disk", figures["servers"]), ("5 ms more per sync", figures["slowDisk"] or {})]
    ):
        positions = [list(figures["servers"]).index(name) + 0.4 * shift for name in rows]
        bars = left.bar(positions, [row["perSecond"] for row in rows.values()], 0.4, label=label)
        left.bar_label(bars, fmt="{:,.0f}", fontsize="small")
    names = [name.replace(" ", "\n") for name in figures["servers"]]
    left.set_xticks([position + 0.2 for position in range(len(names))], names, fontsize="small")
    left.set(title="acknowledged messages per second", yscale="log")
    messages, megabytes = zip(*figures["growth"], strict=True)
    right.plot(messages, megabytes, marker="o", label="listener")
    right.axhline(100, color="black", linestyle="--", label="target")
    right.set(title="memory", xlabel="stored messages", ylabel="MB", ylim=(0, None))
    for axes in (left, right):
        axes.legend(fontsize="small")
        axes.grid(visible=True, alpha=0.3)
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=120)
