"""Fit the cost model, `jaxconv/_cost.json`, to measurements, and say how well it does on layers it was not fitted to.

    python benchmarks/fit_cost.py                  fit to training.json, judge, write _cost.json and cost.md
    python benchmarks/fit_cost.py results.json ... first condense results of `python -m jaxconv bench`, and plans as
                                                   `python -m benchmarks.models.plans` makes them, to training.json;
                                                   `benchmarks/measure_new.py` adds the times of a new algorithm to it

The weights of an algorithm are a ridge regression of the logarithm of its seconds, of convolutions of all kinds, plus
for each kind one of what is left: what there is too little of goes by what is common. What the chooser would lose is
judged by leaving out a tenth of the layers at a time, in all directions: fit to the others, choose for these, compare
the measured time of the choice with the best and with lax's. The same by leaving out a whole suite at a time says what
happens with layers unlike any that were measured.
"""

import argparse
import json
from collections.abc import Callable, Hashable, Iterable
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxconv import _cost, _geometry_json
from jaxconv._accuracy import ACCURACIES
from jaxconv._bench import by_jax
from jaxconv._bench.figures import OTHERS, geometric_mean, median, with_xla
from jaxconv._bench.job import Job
from jaxconv._collect import convolutions, role
from jaxconv._files import write_atomically, write_rows
from jaxconv._geometry import Geometry

HERE = Path(__file__).parent
TRAINING, MODEL, REPORT = HERE / "training.json", Path(_cost.__file__).with_name("_cost.json"), HERE / "cost.md"
RIDGE, RIDGE_OF_KIND = 3.0, 8.0  # of weights of standardised features, of all kinds together and of each by itself
LEAST_ROWS = 3  # of an algorithm and kind, to be fitted at all
FOLDS = 10


class Row(NamedTuple):
    """One convolution: the suite and name of the layer, direction, layout, geometry, threads, seconds by algorithm."""

    suite: str
    name: str
    direction: str
    layout: str
    geometry: Geometry
    threads: int
    seconds: dict[str, float]


def condense(paths: Iterable[Path]) -> None:
    """Medians of all rows that have lax's, in the order of the files; the first measurement of a layer counts, and of a
    convolution in plans."""
    rows, conditions = {}, []
    for path in paths:
        content = json.loads(path.read_text())
        platform = content.get("environment", content.get("conditions", {})).get("platform", "cpu")
        if platform != "cpu":
            raise SystemExit(f"{path} was measured on {platform}: the model is of CPUs, and chooses for them alone")
        if "convolutions" in content:
            conditions.append(content["conditions"])
            for each in content["convolutions"]:
                row = {"suite": f"{path.stem}, training step", "geometry": each["geometry"]}
                row |= {"threads": content["conditions"]["threads"], "seconds": each["seconds"]}
                rows.setdefault(json.dumps(each["geometry"]), row)
            continue
        conditions.append({**content["environment"], **content["settings"]})
        for row in map(with_xla, content["rows"]):
            seconds = {name: time for name in row["backends"] if name not in OTHERS and (time := median(row, name))}
            if "xla" in seconds:
                job = Job.from_json(row).to_json()
                job["threads"] = content["environment"]["cores"]
                rows.setdefault(json.dumps(job), {**job, "seconds": seconds})
    lines = ",\n".join(json.dumps(row) for row in rows.values())
    write_atomically(TRAINING, f'{{"conditions": {json.dumps(conditions)},\n"rows": [\n{lines}\n]}}\n')


def load() -> list[Row]:
    """The rows of training.json."""
    return [row_of(fields) for fields in json.loads(TRAINING.read_text())["rows"]]


def row_of(fields: dict[str, Any]) -> Row:
    """As training.json has it: a job of the benchmark, or a geometry of a plan."""
    if "geometry" in fields:
        geometry = _geometry_json.from_json(fields["geometry"])
        layout = "NHWC" if geometry.lhs_layout.is_canonical else "other"
        layer = fields["suite"], arrays(geometry), role(geometry), layout
    else:
        job = Job.from_json(fields)
        f, structs = by_jax.function(job)
        [found] = convolutions(f, *structs)
        geometry, layer = found.geometry, (job.suite, job.name, job.direction, job.layout)
    return Row(*layer, geometry, fields["threads"], fields["seconds"])


def arrays(geometry: Geometry) -> str:
    """The name of a layer in a plan: how large its input, kernel and output are, which in all its directions are the
    same three."""
    layouts = geometry.lhs_layout, geometry.rhs_layout, geometry.out_layout
    return ", ".join(map(str, sorted(prod(layout.shape) for layout in layouts)))


def fit(rows: list[Row]) -> dict[str, Any]:
    """Algorithm -> kind -> cells and weights."""
    fits: dict[str, Any] = {}
    for name in sorted({name for row in rows for name in row.seconds}):
        having = [row for row in rows if name in row.seconds]
        table = [features(name, row.geometry, row.threads) for row in having]
        target = np.log([row.seconds[name] for row in having])
        every = regress(table, target, RIDGE)
        for kind in sorted({_cost.kind(row.geometry) for row in having}):
            at = [index for index, row in enumerate(having) if _cost.kind(row.geometry) == kind]
            if len(at) >= LEAST_ROWS:
                some = [table[index] for index in at]
                common = [sum(weight * values[feature] for feature, weight in every.items()) for values in some]
                own = regress(some, target[at] - common, RIDGE_OF_KIND)
                weights = {feature: every.get(feature, 0.0) + own.get(feature, 0.0) for feature in {**every, **own}}
                cells = sorted({_cost.cell(having[index].geometry) for index in at})
                fits.setdefault(name, {})[kind] = {"cells": cells, "weights": weights}
    return fits


@cache
def features(name: str, geometry: Geometry, threads: int) -> dict[str, float]:
    """Those of the model; each is asked for in many fits."""
    return _cost.features(name, geometry, threads)


def regress(table: list[dict[str, float]], target: np.ndarray, ridge: float) -> dict[str, float]:
    """Weights of the features that vary, and of "one"."""
    columns = {feature: np.array([values[feature] for values in table]) for feature in table[0]}
    columns = {feature: column for feature, column in columns.items() if np.std(column) > 1e-2}
    means, scales = [np.array([f(column) for column in columns.values()]) for f in (np.mean, np.std)]
    matrix = (np.stack(list(columns.values()), 1) - means) / scales
    slopes = np.linalg.solve(matrix.T @ matrix + ridge * np.eye(len(columns)), matrix.T @ (target - target.mean()))
    slopes = slopes / scales
    return {"one": float(target.mean() - slopes @ means), **dict(zip(columns, slopes.tolist(), strict=True))}


def predicted(fits: dict[str, Any], name: str, row: Row) -> float | None:
    """Seconds of the row's convolution by the algorithm."""
    return _cost.evaluate(fits.get(name, {}), name, row.geometry, row.threads)


class Judged(NamedTuple):
    """A row, what was chosen and what is best, and the time of the choice over the best's and under lax's."""

    row: Row
    chosen: str
    best: str
    over_best: float
    over_lax: float


def judge(fits: dict[str, Any], margin: float, row: Row) -> Judged:
    """What the chooser would do with these fits, for the default accuracy."""
    times = {name: seconds for name, seconds in row.seconds.items() if name in ACCURACIES["default"]}
    guesses = {name: guess for name in times if (guess := predicted(fits, name, row))}
    chosen = _cost.fastest(guesses, margin)
    best = min(times, key=times.__getitem__)
    return Judged(row, chosen, best, times[chosen] / times[best], times["xla"] / times[chosen])


def cross_validate(rows: list[Row], margin: float, part: Callable[[Row], Hashable]) -> list[Judged]:
    """Each row judged by a model that was fitted to the rows of all other parts."""
    judged = []
    for left_out in dict.fromkeys(map(part, rows)):
        fits = fit([row for row in rows if part(row) != left_out])
        judged += [judge(fits, margin, row) for row in rows if part(row) == left_out]
    return judged


def tenths(rows: list[Row]) -> Callable[[Row], int]:
    """Row -> one of ten parts; a layer is in one of them with all its directions, layouts and types."""
    layers = list(dict.fromkeys((row.suite, row.name) for row in rows))
    order = np.random.default_rng(0).permutation(len(layers))
    number = {layer: int(place) % FOLDS for layer, place in zip(layers, order, strict=True)}
    return lambda row: number[row.suite, row.name]


def by_suite(row: Row) -> str:
    """The part that its suite is."""
    return row.suite


def report(rows: list[Row], margin: float) -> str:
    """Tables of the suites, and the worst rows, as Markdown."""
    lines = [
        "# The cost model on layers that it was not fitted to",
        "",
        "over best: measured time of the choice by that of the best algorithm, geometric mean; over lax: time of lax "
        "by that of the choice; worst: the least of those. An algorithm is chosen over lax's own if it is predicted to "
        f"be {margin:g} times as fast. Made by `python benchmarks/fit_cost.py` from training.json.",
    ]
    for title, part in (("Layers left out, a tenth at a time", tenths(rows)), ("Suites left out", by_suite)):
        judged = cross_validate(rows, margin, part)
        lines += ["", f"## {title}", "", *table(judged), "", "Chosen and slower than lax:", ""]
        lost = sorted((each for each in judged if each.over_lax < 0.95), key=lambda each: each.over_lax)
        for row, chosen, _, _, over_lax in lost:
            geometry = f"{row.geometry.describe()}" + ("" if row.layout == "NHWC" else f", {row.layout}")
            lines.append(f"- {over_lax:.2f} {row.suite}, {row.name}, {row.direction}: {chosen} ({geometry})")
    return "\n".join(lines) + "\n"


def table(judged: list[Judged]) -> list[str]:
    """A line for each suite and one for all."""
    lines = [
        "| suite | convolutions | over best | over lax | worst | under 0.95 |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    suites = {suite: [each for each in judged if each.row.suite == suite] for suite in {e.row.suite: 0 for e in judged}}
    for suite, some in [*suites.items(), ("all", judged)]:
        ratios, best = [each.over_lax for each in some], geometric_mean(each.over_best for each in some)
        lines.append(
            f"| {suite} | {len(some)} | {best:.3f} | {geometric_mean(ratios):.2f} | "
            f"{min(ratios):.2f} | {sum(ratio < 0.95 for ratio in ratios)} |"
        )
    return lines


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="*", type=Path, help="of `python -m jaxconv bench`, to condense first")
    parser.add_argument("--margin", type=float, default=1.15)
    arguments = parser.parse_args()
    if arguments.results:
        condense(arguments.results)
    rows = load()
    text = report(rows, arguments.margin)
    print(text)
    write_model(fit(rows), arguments.margin)
    write_atomically(REPORT, text)


def write_model(fits: dict[str, Any], margin: float) -> None:
    """_cost.json, a row for each algorithm and kind."""
    every = [(name, kind, own) for name, kinds in fits.items() for kind, own in kinds.items()]
    features = list(dict.fromkeys(feature for _, _, own in every for feature in own["weights"]))
    rows = []
    for name, kind, own in every:
        weights = [round(own["weights"].get(feature, 0.0), 4) for feature in features]
        rows.append({"algorithm": name, "kind": kind, "cells": own["cells"], "weights": weights})
    write_rows(MODEL, {"margin": margin, "features": features}, "fits", rows)


if __name__ == "__main__":
    main()
