"""What convolutions cost in the body of a loop, where XLA on the CPU compiles them otherwise than outside.

    python benchmarks/loops.py [--out benchmarks/loops.json] [--layout NHWC --layout NCHW] [--rounds 1]

The layers of the core suite in each direction, in a `lax.scan` of two turns, as in the gradients of two small batches
added up, against the same two outside of one. Each contestant in processes of its own, which take turns.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import jax
from jax import lax
from rich.console import Console
from rich.progress import track
from rich.table import Table

import jaxconv
from jaxconv._bench.by_jax import function
from jaxconv._bench.environment import environment
from jaxconv._bench.job import DIRECTIONS, Job
from jaxconv._bench.layer import LAYOUTS
from jaxconv._bench.suites import CORE
from jaxconv._files import write_rows
from jaxconv._measure import clocked

TURNS = 2
OUTSIDE, LAX, XLA, OURS = "lax, outside", "lax", "jaxconv, xla", "jaxconv"
CONTESTANTS = {OUTSIDE: lambda f: f, LAX: lambda f: f, XLA: lambda f: jaxconv.accelerate(f, algorithm="xla")}
CONTESTANTS[OURS] = jaxconv.accelerate
SECONDS = 0.3  # for each case in each round, one call at least


def looped(f, direction: str, outside: bool):
    """(operands stacked, other operand or stacked) -> results stacked, or their sum in gradients of kernels."""
    if direction == "weight-grad":
        if outside:
            return lambda xs, ys: sum(f(xs[turn], ys[turn]) for turn in range(TURNS))

        def add(xs, ys):
            zeros = jax.numpy.zeros_like(jax.eval_shape(f, xs[0], ys[0]))
            return lax.scan(lambda total, pair: (total + f(*pair), None), zeros, (xs, ys))[0]

        return add
    if outside:
        return lambda xs, y: jax.numpy.stack([f(xs[turn], y) for turn in range(TURNS)])
    return lambda xs, y: lax.scan(lambda carry, x: (carry, f(x, y)), None, xs)[1]


def seconds(contestant: str, job: Job) -> float:
    """Of one call, the median."""
    f, structs = function(job)
    program = jax.jit(looped(CONTESTANTS[contestant](f), job.direction, contestant == OUTSIDE))
    stacked = [True, job.direction == "weight-grad"]
    keys = jax.random.split(jax.random.key(0))
    operands = [
        jax.random.normal(key, (TURNS, *struct.shape) if many else struct.shape, struct.dtype)
        for key, struct, many in zip(keys, structs, stacked, strict=True)
    ]
    compiled = program.lower(*operands).compile()
    times = [clocked(lambda: jax.block_until_ready(compiled(*operands)))]  # the first call, not counted if others are
    if times[0] < 10 * SECONDS:
        times, end = [], time.perf_counter() + SECONDS
        while not times or time.perf_counter() < end:
            times.append(clocked(lambda: jax.block_until_ready(compiled(*operands))))
    return statistics.median(times)


def main() -> None:
    """Measure, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--layout", action="append", choices=LAYOUTS, help="default all; several for several")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--contestant", choices=CONTESTANTS, help="only this one's times of one layout, as JSON")
    options = parser.parse_args()
    layouts = [layout for layout in LAYOUTS if layout in (options.layout or LAYOUTS)]
    jobs = [
        Job("core", None, name, layer, direction, "float32", layout)
        for layout in layouts
        for name, layer in CORE.items()
        for direction in DIRECTIONS
    ]
    if options.contestant:
        print(json.dumps([seconds(options.contestant, job) for job in jobs]))
        return

    taken: dict[tuple[str, Job], list[float]] = {}
    runs = [(layout, name) for _ in range(options.rounds) for layout in layouts for name in CONTESTANTS]
    for layout, name in track(runs, description="loops"):
        command = [sys.executable, __file__, "--contestant", name, "--layout", layout]
        times = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        for job, time_ in zip([job for job in jobs if job.layout == layout], times, strict=True):
            taken.setdefault((name, job), []).append(time_)
    rows = [
        {**job.to_json(), "seconds": {name: statistics.median(taken[name, job]) for name in CONTESTANTS}}
        for job in jobs
    ]
    write_rows(options.out, {"environment": environment(), "turns": TURNS}, "rows", rows)
    report(rows, layouts)


def report(rows: list[dict], layouts: list[str]) -> None:
    """How often the time of lax outside of a loop, by direction and layout."""
    table = Table(
        title=f"lax.scan of {TURNS} turns: times those of lax outside of it, geometric means of {len(CORE)} layers"
    )
    for column in ("layout", "direction", *list(CONTESTANTS)[1:], "worst of lax", "worst of jaxconv"):
        table.add_column(column)
    for layout in layouts:
        for direction in DIRECTIONS:
            some = [row for row in rows if row["layout"] == layout and row["direction"] == direction]
            ratios = {
                name: {row["name"]: row["seconds"][name] / row["seconds"][OUTSIDE] for row in some}
                for name in CONTESTANTS
            }
            means = [f"{statistics.geometric_mean(ratios[name].values()):.2f}" for name in list(CONTESTANTS)[1:]]
            worst = [max(ratios[name].items(), key=lambda item: item[1]) for name in (LAX, OURS)]
            table.add_row(layout, direction, *means, *(f"{name} {ratio:.1f}" for name, ratio in worst))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
