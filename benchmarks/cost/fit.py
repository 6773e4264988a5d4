"""The weights of an algorithm, from its measured times.

They are a ridge regression of the logarithm of its seconds, of convolutions of all kinds, plus for each kind one of
what is left: what there is too little of goes by what is common. All that of one type; for each other type, one of what
is left of that.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv import _cost
from jaxconv._files import write_rows
from jaxconv._geometry import Geometry

from .rows import Row

MODEL = Path(_cost.__file__).with_name("_cost.json")
RIDGE, RIDGE_OF_KIND, RIDGE_OF_TYPE = 10.0, 12.0, 40.0  # of weights of standardised features
LEAST_SCALE = 0.5  # to standardise by: or what a few rows have would cost no more than what divides them evenly
LEAST_ROWS = 3  # of an algorithm and kind, or type, to be fitted at all


def fit(rows: list[Row]) -> dict[str, Any]:
    """Algorithm -> kind -> cells and weights, and type -> weights, as `_cost.model()` has them."""
    names = sorted({name for row in rows for name in row.seconds})
    return {name: fit_one(name, [row for row in rows if name in row.seconds]) for name in names}


def fit_one(name: str, rows: list[Row]) -> dict[str, Any]:
    """The same of one algorithm, for which all rows have a time."""
    table = [features(name, row.geometry, row.threads) for row in rows]
    rest = np.log([row.seconds[name] for row in rows])  # what no weights say yet
    kinds = [_cost.kind(row.geometry) for row in rows]
    types = [_cost.types(row.geometry) for row in rows]
    fits: dict[str, Any] = {}

    def said(weights: dict[str, float], at: Iterable[int]) -> list[float]:
        return [_cost.total(weights, table[index]) for index in at]

    def regressed(at: list[int], ridge: float) -> dict[str, float]:
        return regress([table[index] for index in at], rest[at], ridge)

    common = [index for index, own in enumerate(types) if own == _cost.COMMON]
    if len(common) < LEAST_ROWS:
        return fits
    every = regressed(common, RIDGE)
    rest -= said(every, range(len(rows)))
    for kind in sorted({kinds[index] for index in common}):
        at = [index for index in common if kinds[index] == kind]
        if len(at) >= LEAST_ROWS:
            own = regressed(at, RIDGE_OF_KIND)
            of_any_type = [index for index, each in enumerate(kinds) if each == kind]
            rest[of_any_type] -= said(own, of_any_type)
            weights = {feature: every.get(feature, 0.0) + own.get(feature, 0.0) for feature in {**every, **own}}
            fits[kind] = {"cells": sorted({_cost.cell(rows[index].geometry) for index in at}), "weights": weights}
    for own in sorted({*types} - {_cost.COMMON}):
        at = [index for index, each in enumerate(types) if each == own and kinds[index] in fits]
        if len(at) >= LEAST_ROWS:
            fits[own] = {"weights": regressed(at, RIDGE_OF_TYPE)}
    return fits


@cache
def features(name: str, geometry: Geometry, threads: int) -> dict[str, float]:
    """Those of the model; each is asked for in many fits."""
    return _cost.features(name, geometry, threads)


def regress(table: list[dict[str, float]], target: np.ndarray, ridge: float) -> dict[str, float]:
    """Weights of the features that vary, and of "one"."""
    columns = {feature: np.array([values[feature] for values in table]) for feature in table[0]}
    columns = {feature: column for feature, column in columns.items() if np.std(column) > 1e-2}
    if not columns:  # a few rows of one size
        return {"one": float(target.mean())}
    means, scales = [np.array([f(column) for column in columns.values()]) for f in (np.mean, np.std)]
    scales = np.maximum(scales, LEAST_SCALE)
    matrix = (np.stack(list(columns.values()), 1) - means) / scales
    slopes = np.linalg.solve(matrix.T @ matrix + ridge * np.eye(len(columns)), matrix.T @ (target - target.mean()))
    slopes = slopes / scales
    return {"one": float(target.mean() - slopes @ means), **dict(zip(columns, slopes.tolist(), strict=True))}


def predicted(fits: dict[str, Any], name: str, row: Row) -> float | None:
    """Seconds of the row's convolution by the algorithm."""
    return _cost.evaluate(fits.get(name, {}), name, row.geometry, row.threads)


def write_model(fits: dict[str, Any], margin: float) -> None:
    """_cost.json, a row for each algorithm and kind, or type."""
    every = [(name, kind, own) for name, kinds in fits.items() for kind, own in kinds.items()]
    features = list(dict.fromkeys(feature for _, _, own in every for feature in own["weights"]))
    rows = []
    for name, kind, own in every:
        weights = [round(own["weights"][feature], 4) if feature in own["weights"] else 0 for feature in features]
        rows.append({"algorithm": name, "kind": kind, **own, "weights": weights})
    write_rows(MODEL, {"margin": margin, "features": features}, "fits", rows)
