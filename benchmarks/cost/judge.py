"""What the chooser would lose with the cost model, on layers that this was not fitted to.

Judged by leaving out a tenth of the layers at a time, in all directions, layouts and types: fit to the others, choose
for these, compare the measured time of the choice with the best and with lax's. The same by leaving out a whole suite
at a time says what happens with layers unlike any that were measured. And there are measurements that it is not fitted
to, though they were in sight when its features were chosen.
"""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import numpy as np

from jaxconv import _cost
from jaxconv._accuracy import ACCURACIES
from jaxconv._bench.figures import geometric_mean

from .fit import fit, predicted
from .rows import Row

FOLDS = 10


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


def by_type(row: Row) -> str:
    """The part that has weights of its own, beside those of kinds; and whether channels are last."""
    return _cost.types(row.geometry) + ("" if row.layout == "NHWC" else ", other layouts")


def report(rows: list[Row], fits: dict[str, Any], unfitted: list[Row], margin: float) -> str:
    """Tables of the suites, and the worst rows, as Markdown. `fits` are to all of `rows`."""
    lines = [
        "# The cost model on layers that it was not fitted to",
        "",
        "over best: measured time of the choice by that of the best algorithm, geometric mean; over lax: time of lax "
        "by that of the choice; worst: the least of those. An algorithm is chosen over lax's own if it is predicted to "
        f"be {margin:g} times as fast. Made by `python -m benchmarks.cost` from training.json; what is "
        "not fitted is unfitted.json, which was in sight when the features were chosen.",
    ]
    for title, judged in (
        ("Layers left out, a tenth at a time", cross_validate(rows, margin, tenths(rows))),
        ("Suites left out", cross_validate(rows, margin, by_suite)),
        ("Not fitted", [judge(fits, margin, row) for row in unfitted]),
    ):
        lines += ["", f"## {title}", "", *table("suite", judged, by_suite), "", *table("type", judged, by_type)]
        lines += ["", "Chosen and slower than lax:", ""]
        lost = sorted((each for each in judged if each.over_lax < 0.95), key=lambda each: each.over_lax)
        for row, chosen, _, _, over_lax in lost:
            geometry = f"{row.geometry.describe()}" + ("" if row.layout == "NHWC" else f", {row.layout}")
            lines.append(f"- {over_lax:.2f} {row.suite}, {row.name}, {row.direction}: {chosen} ({geometry})")
    return "\n".join(lines) + "\n"


def table(heading: str, judged: list[Judged], part: Callable[[Row], str]) -> list[str]:
    """A line for each part and one for all."""
    lines = [
        f"| {heading} | convolutions | over best | over lax | worst | under 0.95 |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    parts: dict[str, list[Judged]] = {}
    for each in judged:
        parts.setdefault(part(each.row), []).append(each)
    for label, some in [*parts.items(), ("all", judged)]:
        ratios, best = [each.over_lax for each in some], geometric_mean(each.over_best for each in some)
        lines.append(
            f"| {label} | {len(some)} | {best:.3f} | {geometric_mean(ratios):.2f} | "
            f"{min(ratios):.2f} | {sum(ratio < 0.95 for ratio in ratios)} |"
        )
    return lines
