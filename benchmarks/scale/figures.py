"""Table and plot of the measured times, with their targets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]  # accounts, perCall, up, baselineUp, and if measured: unchanged, preview, script, script32, ...


@dataclass(frozen=True)
class Target:
    """Ratio of two figures of one run, and its maximum."""

    name: str
    ratio: float
    max_ratio: float

    @property
    def line(self) -> str:
        """Return one row of the table of targets."""
        result = "met" if self.ratio <= self.max_ratio else "MISSED"
        return f"| {self.name} | {self.ratio:.3g} | {self.max_ratio:g} | {result} |"


HEAD = {
    "accounts": "accounts",
    "perCall": "s per call",
    "up": "up",
    "baselineUp": "baseline",
    "unchanged": "no-op up",
    "baselineUnchanged": "baseline",
    "preview": "preview",
    "baselinePreview": "baseline",
    "script": "curl",
    "script32": "curl -P 32",
}


def format_table(rows: list[Row], targets: list[Target]) -> str:
    """Return both tables in Markdown. All times are medians in seconds."""
    lines = ["| " + " | ".join(HEAD.values()) + " |", "|" + "---:|" * len(HEAD)]
    lines += ["| " + " | ".join(_cell(row.get(key)) for key in HEAD) + " |" for row in rows]
    lines += ["", "| target | measured | maximum | |", "|---|---:|---:|---|"]
    return "\n".join([*lines, *(target.line for target in targets)])


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.1f}" if isinstance(value, float) and value >= 1 else f"{value:.3g}"


def plot(rows: list[Row], file: Path) -> None:
    """Plot seconds over accounts: `up` for each call delay, and commands without changes."""
    import matplotlib as mpl  # noqa: PLC0415  half a second that --json does not need

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for delay in sorted({row["perCall"] for row in rows}):
        delay_rows = [row for row in rows if row["perCall"] == delay]
        sizes = [row["accounts"] for row in delay_rows]
        [line] = left.plot(sizes, [row["up"] for row in delay_rows], marker="o", label=f"up, {delay:g} s per call")
        script = [row for row in delay_rows if row.get("script") is not None]
        left.plot(
            [row["accounts"] for row in script],
            [row["script"] for row in script],
            marker="x",
            linestyle=":",
            color=line.get_color(),
            label=f"sequential curl, {delay:g} s",
        )
    at_once = [row for row in rows if row["perCall"] == 0]
    sizes = [row["accounts"] for row in at_once]
    left.plot(sizes, [row["baselineUp"] for row in at_once], color="black", linestyle="--", label="baseline")
    for name, baseline in (("unchanged", "baselineUnchanged"), ("preview", "baselinePreview")):
        [line] = right.plot(sizes, [row[name] for row in at_once], marker="o", label=HEAD[name])
        baselines = [row[baseline] for row in at_once]
        right.plot(sizes, baselines, color=line.get_color(), linestyle="--", label=f"{HEAD[name]}, baseline")
    left.set(title="up", xlabel="accounts", ylabel="seconds", xscale="log", yscale="log")
    right.set(title="no changes", xlabel="accounts", ylabel="seconds", ylim=(0, None))
    for axes in (left, right):
        axes.legend(fontsize="small")
        axes.grid(visible=True, alpha=0.3)
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=120)
