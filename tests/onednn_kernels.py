"""Draw convolutions and give oneDNN those that are not refused, each announced before it runs.

    ONEDNN_VERBOSE=2 python tests/onednn_kernels.py COUNT [SEED]

A program of its own, since what oneDNN cannot do ends the process, or never ends. oneDNN says by which kernel it
computes each. One line `{...}` a convolution, and `done` in the end.
"""

import json
import random
import sys
from functools import partial
from math import exp, log, prod

import jax
import jax.numpy as jnp

from jaxconv._algorithms import _onednn, _onednn_call
from jaxconv._geometry import dilated
from jaxconv._layout import channels_last
from jaxconv._parameters import geometry_of

LARGEST = 2**27  # multiplications, and elements of an array times 32
MOST_TAPS = {1: 4000, 2: 500, 3: 40}  # along an axis
MOST_POSITIONS = {1: 3000, 2: 150, 3: 40}


def draw(rng: random.Random) -> dict | None:
    """Arguments of a convolution, or None where they came out too large."""

    def up_to(most: int) -> int:
        return round(exp(rng.uniform(0, log(most))))

    rank, is_depthwise = rng.choice((1, 2, 2, 3)), rng.random() < 0.3
    groups = rng.choice((2, 7, 16, 40, 100) if is_depthwise else (1, 1, 1, 2, 7, 16, 40))
    inputs = 1 if is_depthwise else rng.choice((1, 1, 2, 3, 4, 5, 8, 16, 33))
    outputs = 1 if is_depthwise else rng.choice((1, 2, 3, 8, 16, 17, 64, 100))
    kernel = [up_to(MOST_TAPS[rank]) if rng.random() < 0.8 else 1 for _ in range(rank)]
    counts = [up_to(MOST_POSITIONS[rank]) for _ in range(rank)]
    strides = [rng.choice((1, 1, 1, 2, 3, 5)) for _ in range(rank)]
    spread = [1 if is_depthwise and rng.random() < 0.9 else rng.choice((1, 1, 1, 2, 4)) for _ in range(rank)]
    spatial, padding, is_wide = [], [], rng.random() < 0.2
    for taps, count, stride, gap in zip(kernel, counts, strides, spread, strict=True):
        extent = (count - 1) * stride + dilated(taps, gap)
        low, high = (
            rng.randint(0, extent // 3 if is_wide else min(extent // 3, taps)) if rng.random() < 0.5 else 0
            for _ in range(2)
        )
        spatial.append(extent - low - high)
        padding.append((low, high))
    images = rng.choice((1, 1, 2, 3))
    arrays = prod(spatial) * images * groups * inputs, prod(kernel) * inputs * groups * outputs
    if max(prod(kernel) * prod(counts) * images * inputs * outputs * groups, 32 * max(arrays)) > LARGEST:
        return None
    return {
        "dtype": rng.choice(("float32", "float32", "float32", "bfloat16")),
        "lhs": [images, *spatial, groups * inputs],
        "rhs": [*kernel, inputs, groups * outputs],
        "strides": strides,
        "padding": padding,
        "spread": spread,
        "groups": groups,
        "outputs_first": rng.random() < 0.3,
    }


def run(problem: dict) -> None:
    """Computes it unless it is refused."""
    p, rank = problem, len(problem["strides"])
    numbers, shape = channels_last(rank), p["rhs"]
    if p["outputs_first"]:
        numbers = numbers._replace(rhs_spec=(rank, rank + 1, *range(rank)))
        shape = [*shape[:rank], *shape[:-3:-1]]
    lhs, rhs = jnp.ones(p["lhs"], p["dtype"]), jnp.ones(shape, p["dtype"])
    padding = tuple(map(tuple, p["padding"]))
    more = {"dimension_numbers": numbers, "feature_group_count": p["groups"]}
    geometry = geometry_of(lhs, rhs, tuple(p["strides"]), padding, None, tuple(p["spread"]), **more)
    if not _onednn.refuses(geometry):
        print(json.dumps(p), flush=True)
        jax.jit(partial(_onednn_call.call, geometry=geometry))(lhs, rhs).block_until_ready()


def main() -> None:
    """The command line."""
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    drawn = 0
    while drawn < int(sys.argv[1]):
        problem = draw(rng)
        if problem is not None:
            run(problem)
            drawn += 1
    print("done")


if __name__ == "__main__":
    main()
