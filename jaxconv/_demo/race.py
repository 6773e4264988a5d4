"""A race of forward times, x (32, 32, 128, 128) through 64 filters of 3 x 3, one process for each contestant.

Thread pools of different libraries in one process fight over the cores. One of ours is what the library takes where no
algorithm is named.
"""

import importlib.util
import json
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
from rich.console import Console
from rich.progress import track
from rich.table import Table

from .._conv import conv_general_dilated
from .._explain import explain
from .contestant import IMAGES, KERNEL


def contestants() -> dict[str, str]:
    """What the table calls them -> what `contestant` does; the first is what the others are compared with."""
    operands = (jax.ShapeDtypeStruct(shape, "float32") for shape in (IMAGES, KERNEL))
    [row] = explain(partial(conv_general_dilated, window_strides=(1, 1), padding="VALID"), *operands).rows
    named = {name: name for name in ("lax", "naive", "im2col")}
    return {**named, f"jaxconv's own choice: {row.algorithm}": row.algorithm, "torch": "torch"}


def show(console: Console, out: Path) -> bool:
    """A table of forward times. True if every contestant that ran computed the same sum of squares."""
    table = Table(title=f"Forward: {IMAGES} by {KERNEL}, float32")
    for column in ("contestant", "median", "fastest", "slowest", "lax / this"):
        table.add_column(column, justify="left" if column == "contestant" else "right")
    results = {}
    for title, name in track(contestants().items(), description="race", console=console, transient=True):
        if name == "torch" and importlib.util.find_spec("torch") is None:
            table.add_row("torch", "not installed", "", "", "")
            continue
        command = [sys.executable, "-m", "jaxconv._demo.contestant", name]
        result = results[title] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        times = result["times"]
        table.add_row(
            title,
            *(f"{value * 1e3:.0f} ms" for value in (statistics.median(times), min(times), max(times))),
            f"{statistics.median(results['lax']['times']) / statistics.median(times):.2f}",
        )
    console.print(table)
    expected = results["lax"]["checksum"]
    held = all(abs(result["checksum"] / expected - 1) < 1e-5 for result in results.values())
    console.print("all computed the same\n" if held else "[bold red]NOT all computed the same[/]\n")
    return held
