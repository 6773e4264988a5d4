"""Speeds relative to lax or PyTorch as pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from .figures import Line, compare, groups
from .job import DIRECTIONS
from .results import Row

WON, LOST, NONE = "#2a7f9e", "#c8553d", "#999999"
NAMES = {"lax": "lax", "torch": "PyTorch"}


def draw(folder: Path, rows: list[Row], against: Sequence[str], approximate: bool) -> list[Path]:
    """One PNG for each group of rows and direction that has times of the first of `against`, which ours are relative
    to; the second, if there is one, is drawn beside them. Returns where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for title, group in groups(rows).items():
        for direction in DIRECTIONS:
            lines = compare([row for row in group if row["direction"] == direction], against, approximate)
            if any(first in line.ratios for first in against[:1] for line in lines):
                path = folder / (f"{title} {direction}".replace(", ", "-").replace(" ", "-") + ".png")
                _bars(f"{title}: {direction}", lines, *against).savefig(path, dpi=100)
                paths.append(path)
    return paths


def _bars(title: str, lines: list[Line], first: str, second: str | None = None) -> Figure:
    """Bars from 1 (as fast as the first) to the speed of our best; the second's speed beside it."""
    figure = Figure(figsize=(9, 1.2 + 0.3 * len(lines)), layout="constrained")
    axis = figure.subplots()
    for place, line in enumerate(reversed(lines)):
        ours = line.ratios.get(first)
        if ours is None:
            axis.text(1, place, " no time", va="center", color=NONE)
            continue
        # From 1 to the ratio, whichever is larger; the logarithmic axis makes x and 1/x equally long.
        axis.barh(place, ours - 1, left=1, color=WON if ours >= 1 else LOST)
        theirs = ours / line.ratios[second] if second in line.ratios else 1
        end, side = (max(ours, theirs), "left") if ours >= 1 else (min(ours, theirs), "right")
        axis.text(end, place, f"  {line.best} {ours:.2f}  ", va="center", ha=side, size=8)
        if second in line.ratios:
            axis.plot(theirs, place, marker="D", color="black", markersize=5, linestyle="none")
    axis.axvline(1, color="black", linewidth=1)
    if second:
        axis.plot([], [], marker="D", color="black", linestyle="none", label=NAMES[second])
        axis.legend(loc="lower right", fontsize=8)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, 0.5) / 1.6, max(high, 2) * 4)  # room for the names
    axis.set_yticks(np.arange(len(lines)), [line.row["name"] for line in reversed(lines)], fontsize=8)
    axis.set_xlabel(f"speed of our best algorithm relative to {NAMES[first]}")
    axis.set_title(title)
    return figure
