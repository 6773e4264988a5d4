"""How long each algorithm takes on a CPU, predicted from the geometry alone.

For each algorithm, and apart for kinds of convolution (with groups, with few output positions as weight gradients have
them, in one dimension, of one tap, with dilated inputs, channels first),

    log seconds = sum over features of  (weight of kind[feature] + weight of type[feature]) * feature(geometry)

which is a product of powers of the sizes, with other exponents above a knee where vectors or tiles are full. Kinds are
measured in float32, whose own weights are zero; those of a type say what is different about it in all kinds. The
weights in `_cost.json` were fitted to committed measurements by `python -m benchmarks.cost`, which says how well they
do on layers they were not fitted to. Types, and algorithms, that were not measured have no prediction.
"""

import json
from functools import cache
from math import exp, log, prod
from operator import gt
from pathlib import Path
from typing import Any

from ._algorithms import ALGORITHMS
from ._geometry import Geometry
from ._machine import cores

COMMON = "float32"  # the type that all kinds are measured in
AS_GOOD = 1.08  # times the least prediction: much less than predictions are off by
# Types that go by another one.
GOES_BY = {"complex128": "complex64", "float16 to float32": "bfloat16 to float32"}


@cache
def model() -> dict[str, Any]:
    """ "margin", and "fits": algorithm -> kind -> "cells", and "weights" by feature; -> type -> "weights".

    In `_cost.json` the fits are rows, and their weights in the order of its "features".
    """
    content = json.loads(Path(__file__).with_name("_cost.json").read_text())
    fits: dict[str, Any] = {}
    for row in content["fits"]:
        weights = dict(zip(content["features"], row["weights"], strict=True))
        fits.setdefault(row["algorithm"], {})[row["kind"]] = {**row, "weights": weights}
    return {"margin": content["margin"], "fits": fits}


def margin() -> float:
    """How much faster than lax's own an algorithm must be predicted to be."""
    return model()["margin"]


def fastest(times: dict[str, float], margin: float) -> str:
    """The least of the predictions, or "xla" where that has none, or is not beaten by the margin. Where oneDNN's is as
    good as the least, that: it is a direct sum, and one call, where others take a second to compile."""
    best = min(times, key=times.__getitem__, default="xla")
    if "onednn" in times and times["onednn"] < AS_GOOD * times[best]:
        best = "onednn"
    return best if "xla" in times and times[best] * margin < times["xla"] else "xla"


def features(name: str, geometry: Geometry, threads: int) -> dict[str, float]:
    """What the prediction goes by: sizes as logarithms, kinds as 0 or 1, and the bytes that the algorithm's own copies
    come to, as it estimates them."""
    g, algorithm = geometry, ALGORITHMS[name]
    positions = g.batch * prod(g.out_spatial)
    columns = g.out_spatial[-1] if g.ndim else 1
    inputs = g.batch * prod(g.spatial)
    padded = any(side for pair in g.padding for side in pair)
    elements = sum(prod(layout.shape) for layout in (g.lhs_layout, g.rhs_layout, g.out_layout))
    return {
        "one": 1.0,
        "positions": log(positions),
        "inputs": log(inputs),
        "copies": log(max(algorithm.workspace(g) * algorithm.turns(g), 10**5)),
        "taps": log(prod(g.kernel)),
        "in channels": log(g.in_channels),
        "in channels over 16": log(max(g.in_channels, 16)),
        "out channels": log(g.out_channels),
        "out channels over 16": log(max(g.out_channels, 16)),
        "out channels over 64": log(max(g.out_channels, 64)),
        "groups": log(g.groups),
        "depthwise": float(g.groups > 1 and g.in_channels == g.out_channels == 1),
        "columns": log(columns),
        "products": log(max(g.macs, 2**20)),  # what is below is all overhead
        "products over 2**25": log(max(g.macs, 2**25)),  # what is above takes time by their number
        "products by element": log(max(g.macs / elements, 1)),
        "strided": float(set(g.strides) - {1} != set()),
        "dilation": log(max(g.rhs_dilation, default=1)),
        "up": log(prod(g.lhs_dilation)),
        "unpadded": float(not padded),
        "unpadded, many products": float(not padded) * log(max(g.macs, 10**8) / 1e8),
        "one tile": float(columns <= 64 and g.out_channels <= 64),  # all for one thread, in a dense convolution
        "one tap": float(prod(g.kernel) == 1 and set(g.rhs_dilation) <= {1}),  # with dilations XLA has no such code
        "one axis": float(g.ndim == 1),
        "three axes": float(g.ndim == 3),
        "three axes, products over 2**30": float(g.ndim == 3) * log(max(g.macs, 2**30) / 2**30),
        "taps past inputs": float(any(map(gt, g.kernel, g.spatial))),  # XLA's tiled convolutions do without such
        "lhs turned": float(not g.lhs_layout.is_canonical),
        "rhs turned": float(not g.rhs_layout.is_canonical),
        "out turned": float(not g.out_layout.is_canonical),
        "threads": log(threads),
        "threads, many products": log(threads) * min(1.0, g.macs / 1e8),
    }


def kind(geometry: Geometry) -> str:
    """Which of an algorithm's sets of weights: it has one for each kind whose times go by other rules."""
    g = geometry
    words = [
        "grouped" if g.groups > 1 else "dense",
        "few positions" if g.few_positions else "many positions",
        "one axis" if g.ndim == 1 else "",
        "one tap" if g.groups == 1 and prod(g.kernel) == 1 else "",
        "dilated lhs" if max(g.lhs_dilation, default=1) > 1 else "",
        "turned" if g.groups == 1 and not g.few_positions and not g.out_layout.is_canonical else "",
    ]
    return ", ".join(filter(None, words))


def cell(geometry: Geometry) -> int:
    """What must have been measured for a prediction to hold, and cannot be extrapolated to: the number of axes."""
    return geometry.ndim


def types(geometry: Geometry) -> str:
    """Of the operands, and of the result where that is another; or those that have the same weights."""
    own = " to ".join(dict.fromkeys((geometry.dtype, geometry.out_dtype)))
    return GOES_BY.get(own, own)


def predict(name: str, geometry: Geometry) -> float | None:
    """Seconds, or None where nothing like it was measured."""
    return evaluate(model()["fits"].get(name, {}), name, geometry, cores())


def evaluate(fits: dict[str, Any], name: str, geometry: Geometry, threads: int) -> float | None:
    """Seconds by the weights of its kind and type, or None where there are none, or not for such a cell."""
    of_kind, own = fits.get(kind(geometry)), types(geometry)
    if of_kind is None or cell(geometry) not in of_kind["cells"] or (own != COMMON and own not in fits):
        return None
    values = features(name, geometry, threads)
    of_type = total(fits[own]["weights"], values) if own != COMMON else 0.0
    return exp(total(of_kind["weights"], values) + of_type)


def total(weights: dict[str, float], values: dict[str, float]) -> float:
    """The sum over those features that have weights."""
    return sum(weight * values[feature] for feature, weight in weights.items())
