"""How far from exact every algorithm is, in units of the bounds that `jaxconv/_accuracy.py` states.

    python benchmarks/accuracy.py [--out benchmarks/accuracy.json]

For layers small enough for the float64 oracle, with random data: the largest error over all outputs, divided by
eps * (1 + sqrt(n)) times what stands behind it in either bound. The oracle rounds too: errors of float64 below 1 may be
its own. Data are normal, or signs times numbers near one, of which Winograd's and Fourier's sums cancel most. For data
without any chance in them, the same numbers everywhere, nothing is promised: `CONSTANT` says what becomes of them.
"""

import argparse
import json
from math import prod
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

import jaxconv
from jaxconv._accuracy import ERROR_FACTOR, NORMWISE, error_bound, largest
from jaxconv._algorithms import ALGORITHMS
from jaxconv._bench.environment import environment
from jaxconv._parameters import geometry_of
from jaxconv.testing import Problem, oracle

# Name: lhs, rhs, in how many groups, and what is not stride 1 and padding "SAME". With as many groups as channels each
# image is one problem of one channel.
LAYERS: dict[str, tuple] = {
    "2 positions, 1 channel, 4000 times": ((1, 4000, 2, 2), (4000, 1, 3, 3), 4000),
    "1 position, 1 channel, 4000 times": ((1, 4000, 1, 1), (4000, 1, 3, 3), 4000),
    "a row, 1 channel": ((1000, 1, 30), (4, 1, 3), 1),
    "1 channel": ((50, 1, 30, 30), (4, 1, 3, 3), 1),
    "2 channels": ((50, 2, 30, 30), (4, 2, 3, 3), 1),
    "8 channels": ((20, 8, 30, 30), (8, 8, 3, 3), 1),
    "64 channels": ((4, 64, 16, 16), (16, 64, 3, 3), 1),
    "512 channels": ((2, 512, 14, 14), (16, 512, 3, 3), 1),
    "depthwise": ((4, 64, 20, 20), (64, 1, 3, 3), 64),
    "5x5, 8 channels": ((4, 8, 30, 30), (8, 8, 5, 5), 1),
    "31x31, depthwise": ((1, 4, 40, 40), (4, 1, 31, 31), 4),
    "9x9, 16 channels": ((2, 16, 30, 30), (16, 16, 9, 9), 1),
    "volume, 1 channel": ((4, 1, 12, 12, 12), (2, 1, 3, 3, 3), 1),
    "volume, 16 channels": ((2, 16, 12, 12, 12), (2, 16, 3, 3, 3), 1),
    "transposed": ((4, 16, 12, 12), (16, 16, 4, 4), 1, {"lhs_dilation": (2, 2), "padding": ((2, 2), (2, 2))}),
    "weight gradient": ((16, 8, 30, 30), (8, 8, 28, 28), 1, {"padding": "VALID"}),
}
SIGNS = {
    "1 channel, signs": ((1, 1, 250, 250), (1, 1, 3, 3), 1),
    "16 channels, signs": ((1, 16, 60, 60), (4, 16, 3, 3), 1),
    "volume, 1 channel, signs": ((1, 1, 40, 40, 40), (1, 1, 3, 3, 3), 1),
}
# The numbers of lhs and of rhs, and a layer.
CONSTANT = {
    "3x3, 64 channels": ((1 / 3, 0.7), ((1, 64, 10, 10), (8, 64, 3, 3), 1, {"padding": "VALID"})),
    "1x1, 2048 channels": ((1 / 3, 0.7), ((1, 2048, 8, 8), (8, 2048, 1, 1), 1)),
    "31x31, depthwise": ((0.1, 1.0), ((1, 4, 40, 40), (4, 1, 31, 31), 4, {"padding": "VALID"})),
    "weight gradient of 8 images, 112x112": (
        (0.1, 0.3), ((3, 8, 114, 114), (16, 8, 112, 112), 1, {"padding": "VALID"}),
    ),
}  # fmt: skip


def drawn(data: str, problem: Problem) -> tuple[jax.Array, jax.Array]:
    """lhs and rhs."""
    rng, shapes = np.random.default_rng(0), (problem.lhs_shape, problem.rhs_shape)
    if data == "normal":
        return problem.operands()
    if data == "signs":
        near_one = [rng.uniform(0.9, most, shape) for shape, most in zip(shapes, (1.0, 1.1), strict=True)]
        values = [near_one[0] * rng.choice((-1, 1), shapes[0]), near_one[1]]
    else:
        values = [np.full(shape, value) for shape, value in zip(shapes, CONSTANT[data][0], strict=True)]
    lhs, rhs = (jnp.asarray(value, problem.dtype) for value in values)
    return lhs, rhs


class Exact(NamedTuple):
    """The result, and what stands behind the error in either bound; groups are judged each by themselves."""

    result: np.ndarray
    componentwise: np.ndarray
    normwise: np.ndarray


def exact(problem: Problem, lhs: jax.Array, rhs: jax.Array) -> Exact:
    """By the oracle."""
    arguments, axes = problem.exact_arguments, tuple(range(2, lhs.ndim))
    left, right = np.abs(np.asarray(lhs, np.float64)), np.abs(np.asarray(rhs, np.float64))
    by_norm = oracle(largest(left, axes), largest(right, axes), **arguments).max(axes, keepdims=True)
    return Exact(oracle(lhs, rhs, **arguments), oracle(left, right, **arguments), by_norm)


def errors(problem: Problem, algorithm: str, lhs: jax.Array, rhs: jax.Array, right: Exact) -> dict[str, float]:
    """The largest error, componentwise and by the norm."""
    arguments = problem.exact_arguments
    conv = jax.jit(lambda lhs, rhs: jaxconv.conv_general_dilated(lhs, rhs, **arguments, algorithm=algorithm))
    error = np.abs(np.asarray(conv(lhs, rhs), np.float64) - right.result) / error_bound(problem.dtype, problem.terms)
    kinds = {"componentwise": right.componentwise, "normwise": right.normwise}
    return {kind: float((error / behind).max()) for kind, behind in kinds.items()}


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    layers = {name: ("normal", layer) for name, layer in LAYERS.items()}
    layers |= {name: ("signs", layer) for name, layer in SIGNS.items()}
    layers |= {f"constant: {name}": (name, layer) for name, (_, layer) in CONSTANT.items()}
    cases = [(layer, dtype) for layer in layers for dtype in ("float32", "float64")]
    rows = []
    for layer, dtype in track(cases, description="accuracy"):
        data, (lhs_shape, rhs_shape, groups, *more) = layers[layer]
        usual = {"window_strides": (1,) * (len(lhs_shape) - 2), "padding": "SAME", "feature_group_count": groups}
        problem = Problem(lhs_shape, rhs_shape, dtype=dtype, **usual | dict(*more))
        lhs, rhs = drawn(data, problem)
        geometry, right = geometry_of(lhs, rhs, **problem.arguments), exact(problem, lhs, rhs)
        for name in ALGORITHMS:
            if ALGORITHMS[name].unsupported(geometry) or (name == "naive" and prod(geometry.kernel) > 2000):
                continue  # the latter takes minutes
            found = errors(problem, name, lhs, rhs, right)
            row = {"layer": layer, "dtype": dtype, "algorithm": name, "terms": problem.terms}
            rows.append({**row, "promised": data not in CONSTANT, **found})

    stated = {name: {"factor": ERROR_FACTOR[name], "normwise": name in NORMWISE} for name in ALGORITHMS}
    results = {"environment": environment(), "stated": stated, "rows": rows}
    options.out.write_text(json.dumps(results, indent=1) + "\n")

    console = Console(width=120)
    for kind in ("componentwise", "normwise"):
        table = Table(title=f"largest {kind} error, in units of eps * (1 + sqrt(n)) * the {kind} size")
        table.add_column("layer")
        for name in ALGORITHMS:
            table.add_column(name, justify="right")
        for layer in layers:
            for dtype in ("float32", "float64"):
                found = {row["algorithm"]: row[kind] for row in rows if (row["layer"], row["dtype"]) == (layer, dtype)}
                table.add_row(
                    f"{layer}, {dtype}", *(f"{found[name]:.2g}" if name in found else "-" for name in ALGORITHMS)
                )
        promised = [f"{ERROR_FACTOR[name]:g}" if (name in NORMWISE) == (kind == "normwise") else "" for name in stated]
        table.add_section()
        table.add_row("stated factor", *promised)
        console.print(table)


if __name__ == "__main__":
    main()
