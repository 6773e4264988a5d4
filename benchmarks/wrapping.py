"""What it costs to call our convolution instead of lax's, apart from computing it.

    python benchmarks/wrapping.py [--out benchmarks/wrapping.json]

Two tables: eager calls of a tiny convolution, the first and the following, each contestant in a process of its own; and
the time to trace and compile each layer of the core suite in each direction with each algorithm.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import jax
from jax import lax
from rich.console import Console
from rich.progress import track
from rich.table import Table

import jaxconv
from jaxconv._bench.environment import environment
from jaxconv._bench.layer import Layer
from jaxconv._bench.suites import CORE as LAYERS

CONTESTANTS = {"lax": lax.conv_general_dilated, "jaxconv": jaxconv.conv_general_dilated} | {
    f"jaxconv, {name}": partial(jaxconv.conv_general_dilated, algorithm=name) for name in jaxconv.ALGORITHMS
}
PADDINGS = {"named padding": "SAME", "numbers": [(1, 1), (1, 1)]}
DIRECTIONS = ("forward", "input gradient", "weight gradient")


def dispatch(contestant: str) -> dict[str, dict[str, float]]:
    """Seconds of the first eager call of a tiny convolution in this process, and the median of the following."""
    lhs, rhs = jax.numpy.ones((1, 3, 8, 8)), jax.numpy.ones((4, 3, 3, 3))
    jax.block_until_ready(lhs + 1)  # JAX itself is up
    result = {}
    for name, padding in PADDINGS.items():

        def call(padding=padding):
            start = time.perf_counter()
            jax.block_until_ready(CONTESTANTS[contestant](lhs, rhs, (1, 1), padding))
            return time.perf_counter() - start

        first = call()
        result[name] = {"first": first, "following": statistics.median(call() for _ in range(2000))}
    return result


def compile_seconds(layer: Layer, direction: str, algorithm: str) -> float:
    """To trace, lower and compile one convolution."""

    def conv(lhs, rhs):
        return jaxconv.conv_general_dilated(lhs, rhs, **layer.arguments(), algorithm=algorithm)

    def backward(lhs, rhs, cotangent):
        return jax.vjp(conv, lhs, rhs)[1](cotangent)[DIRECTIONS.index(direction) - 1]

    shapes = [jax.ShapeDtypeStruct(shape, "float32") for shape in (*layer.shapes(), layer.out_shape())]
    start = time.perf_counter()
    if direction == "forward":
        jax.jit(conv).lower(*shapes[:2]).compile()
    else:
        jax.jit(backward).lower(*shapes).compile()
    return time.perf_counter() - start


def main() -> None:
    """Measure, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--dispatch", choices=CONTESTANTS, help="only this contestant's eager calls, as JSON")
    options = parser.parse_args()
    if options.dispatch:
        print(json.dumps(dispatch(options.dispatch)))
        return

    eager = {}
    for name in track(CONTESTANTS, description="eager calls"):
        command = [sys.executable, __file__, "--dispatch", name]
        eager[name] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    cases = [(layer, direction, name) for layer in LAYERS for direction in DIRECTIONS for name in jaxconv.ALGORITHMS]
    compiling = {
        (layer, direction, name): compile_seconds(LAYERS[layer], direction, name)
        for layer, direction, name in track(cases, description="compiling")
    }
    rows = [
        dict(zip(("layer", "direction", "algorithm", "seconds"), (*case, seconds), strict=True))
        for case, seconds in compiling.items()
    ]
    result = {"environment": environment(), "eager": eager, "compiling": rows}
    options.out.write_text(json.dumps(result, indent=1) + "\n")

    console = Console(width=110)
    table = Table(title="Eager calls of a convolution of 8x8 pixels")
    for column in ("", *(f"{form}, {call}" for form in PADDINGS for call in ("first", "following"))):
        table.add_column(column, justify="left" if not column else "right")
    for name, figures in eager.items():
        cells = (
            f"{figures[form]['first'] * 1e3:.0f} ms|{figures[form]['following'] * 1e6:.0f} us" for form in PADDINGS
        )
        table.add_row(name, *(cell for pair in cells for cell in pair.split("|")))
    console.print(table)

    table = Table(title=f"Seconds to trace and compile, {len(LAYERS)} layers")
    for column in ("algorithm", "direction", "median", "longest", "of"):
        table.add_column(column)
    for name in jaxconv.ALGORITHMS:
        for direction in DIRECTIONS:
            seconds = {layer: compiling[layer, direction, name] for layer in LAYERS}
            longest = max(seconds, key=seconds.__getitem__)
            median = statistics.median(seconds.values())
            table.add_row(name, direction, f"{median:.2f}", f"{seconds[longest]:.2f}", longest)
    console.print(table)


if __name__ == "__main__":
    main()
