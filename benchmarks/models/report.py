"""Tables of the results."""

from collections.abc import Sequence

from jaxconv._bench.figures import failures, geometric_mean, median
from jaxconv._bench.results import Row
from jaxconv._bench.sheets import Sheet, timed

from .run import CONTESTANTS

TITLE = "Training steps"
EXPLANATION = (
    "ms: median of a step (forward, backward, update) ± half the distance of the quartiles; X over Y: time of Y by "
    "time of X, above 1 X is faster; losses apart: largest relative difference of the first losses from lax's."
)
RATIOS = tuple((ours, other) for other in ("lax", "torch") for ours in ("jaxconv", "jaxconv, plan"))


def sheets(rows: Sequence[Row]) -> list[Sheet]:
    """Steps, and what has to be done before the first."""
    there = [name for name in CONTESTANTS if any(name in row["backends"] for row in rows)]
    return [_steps(rows, there), _costs(rows, there)]


def _steps(rows: Sequence[Row], there: list[str]) -> Sheet:
    ratios = [pair for pair in RATIOS if set(pair) <= set(there)]
    judged = [name for name in there if name != "lax"]
    cells = []
    for row in rows:
        cells.append(
            [
                row["name"],
                *(timed(row, name) for name in there),
                *(_number(_ratio(row, *pair), ".2f") for pair in ratios),
                *(_number(row["backends"].get(name, {}).get("difference"), ".0e") for name in judged),
            ]
        )
    if len(rows) > 1:
        means = []
        for pair in ratios:
            found = [ratio for row in rows if (ratio := _ratio(row, *pair))]
            means.append(_number(geometric_mean(found) if found else None, ".2f"))
        cells.append(["geometric mean", *("" for _ in there), *means, *("" for _ in judged)])
    columns = ["model", *(f"{name} ms" for name in there), *(f"{ours} over {other}" for ours, other in ratios)]
    notes = [f"FAILED: {row['name']} by {name}: {why}" for row in rows for name, why in failures(row).items()]
    batches = " and ".join(dict.fromkeys(str(row["batch"]) for row in rows))
    return Sheet(
        f"training steps, batch {batches}", [*columns, *(f"{name} losses apart" for name in judged)], cells, notes=notes
    )


def _costs(rows: Sequence[Row], there: list[str]) -> Sheet:
    found = [(name, cost) for name in there for cost in ("tune", "compile")]
    entries = [[row["backends"].get(name, {}).get(cost) for name, cost in found] for row in rows]
    kept = [i for i in range(len(found)) if any(entry[i] is not None for entry in entries)]
    cells = [[row["name"], *(_number(entry[i], ".1f") for i in kept)] for row, entry in zip(rows, entries, strict=True)]
    return Sheet("seconds before the first step", ["model", *(" ".join(found[i]) for i in kept)], cells)


def _ratio(row: Row, ours: str, other: str) -> float | None:
    """How many times faster ours is, None where either has no time."""
    mine, theirs = median(row, ours), median(row, other)
    return theirs / mine if mine and theirs else None


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
