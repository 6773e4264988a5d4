"""How the workspace bound of im2col trades memory for time.

    python benchmarks/workspace.py [--out benchmarks/workspace.json]

Runs each layer under bounds from 1 to 64 MiB, alone in this process, float32, random data.
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from jaxconv._algorithms import im2col
from jaxconv._bench.environment import environment
from jaxconv._measure import measure
from jaxconv._parameters import geometry_of

# lhs, rhs, padding, layout: a convolution of ResNet-50, its weight gradient, the input layer of a photograph filter.
LAYERS = {
    "3x3, 64 to 64, 8x56x56": ((8, 56, 56, 64), (3, 3, 64, 64), [(1, 1)] * 2, ("NHWC", "HWIO", "NHWC")),
    "its weight gradient": ((8, 56, 56, 64), (56, 56, 8, 64), [(1, 1)] * 2, ("CHWN", "HWIO", "NHWC")),
    "3x3, 512 to 512, 8x7x7": ((8, 7, 7, 512), (3, 3, 512, 512), [(1, 1)] * 2, ("NHWC", "HWIO", "NHWC")),
    "15x15, 16 to 16, 2x128x128": ((2, 128, 128, 16), (15, 15, 16, 16), [(7, 7)] * 2, ("NHWC", "HWIO", "NHWC")),
    "9x9, 1 to 5, 3x600x512": ((3, 600, 512, 1), (9, 9, 1, 5), [(4, 4)] * 2, ("NHWC", "HWIO", "NHWC")),
}
BOUNDS = [2**power for power in range(20, 27)]


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = []
    for layer, bound in track([(layer, bound) for layer in LAYERS for bound in BOUNDS], description="workspace"):
        lhs_shape, rhs_shape, padding, layout = LAYERS[layer]
        lhs = jax.numpy.asarray(rng.standard_normal(lhs_shape), "float32")
        rhs = jax.numpy.asarray(rng.standard_normal(rhs_shape), "float32")
        geometry = geometry_of(lhs, rhs, (1, 1), padding, dimension_numbers=layout)

        def conv(lhs, rhs, geometry=geometry, bound=bound):
            return im2col.convolve(lhs, rhs, geometry, bound)

        _, cost = measure(conv, lhs, rhs)
        rows.append({"layer": layer, "bound": bound, "used": cost.workspace, "times": cost.times, "median": cost.run})

    options.out.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1) + "\n")

    table = Table(title="im2col forward, median ms (MiB used) under each bound")
    table.add_column("layer")
    for bound in BOUNDS:
        table.add_column(f"{bound // 2**20} MiB", justify="right")
    for layer in LAYERS:
        mine = [row for row in rows if row["layer"] == layer]
        table.add_row(layer, *(f"{row['median'] * 1e3:.0f} ({row['used'] / 2**20:.1f})" for row in mine))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
