"""What rows of results come to: the best of our algorithms in each, ratios, means, losses."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from .results import Row

OTHERS = ("lax", "torch")  # what ours are compared with; every other backend is one of ours
APPROXIMATE = ("winograd4", "fft")  # of another class of error, so the best of ours is sought among the rest


class Line(NamedTuple):
    """A row, the best of our algorithms that computed it (None: none did), and other -> its time over the best's."""

    row: Row
    best: str | None
    ratios: dict[str, float]


def compare(rows: Iterable[Row], against: Iterable[str], approximate: bool = False) -> list[Line]:
    """A line for each row. A ratio above 1 is a win; where either side has no time there is none."""
    against = tuple(against)
    lines = []
    for row in rows:
        excluded = (*OTHERS, *(() if approximate else APPROXIMATE))
        ours = {name: seconds for name in row["backends"] if name not in excluded and (seconds := median(row, name))}
        best = min(ours, key=ours.__getitem__, default=None)
        theirs = {name: seconds for name in against if (seconds := median(row, name))}
        ratios = {} if best is None else {name: seconds / ours[best] for name, seconds in theirs.items()}
        lines.append(Line(row, best, ratios))
    return lines


def with_xla(row: Row) -> Row:
    """The row with lax's figures as those of our "xla" too, which hands lax's own primitive to the compiler: the same
    program, not measured twice."""
    backends = row["backends"]
    if "xla" in backends or "lax" not in backends:
        return row
    return {**row, "backends": {**backends, "xla": backends["lax"]}}


def median(row: Row, backend: str) -> float | None:
    """Seconds, or None where the backend has no time, or one for a wrong result."""
    entry = row["backends"].get(backend, {})
    return None if entry.get("wrong") or {"cannot", "error"} & entry.keys() else entry.get("median")


def of_matmul(row: Row, backend: str) -> float | None:
    """Of the rate of matrix products measured with it: 1.0 is a convolution as fast as a product of as many terms."""
    seconds = median(row, backend)
    return 2 * row["macs"] / seconds / row["matmul"] if seconds and row["matmul"] else None


def of_elementwise(row: Row, backend: str) -> float | None:
    """1.0 is a convolution as fast as reading and writing as many bytes; rows of older files do not say."""
    seconds, own = median(row, backend), row.get("elementwise")
    return own / seconds if seconds and own else None


def geometric_mean(ratios: Iterable[float]) -> float:
    """nan of nothing."""
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def losses(lines: Iterable[Line], other: str) -> list[Line]:
    """Where the other is faster, or ours cannot do at all what the other can; the worst first."""
    lost = [line for line in lines if median(line.row, other) and line.ratios.get(other, 0.0) < 1]
    return sorted(lost, key=lambda line: line.ratios.get(other, 0.0))


def failures(row: Row) -> dict[str, str]:
    """Backend -> what was wrong with it, apart from having no way to do it."""
    found = {}
    for name, entry in row["backends"].items():
        if "error" in entry:
            found[name] = entry["error"]
        elif entry.get("wrong"):
            found[name] = "computed something else"
    return found


def groups(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows that belong into one table: of one suite, batch size, type and layout."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        batch = [] if row["batch"] is None else [f"batch {row['batch']}"]
        found.setdefault(", ".join([row["suite"], *batch, row["dtype"], row["layout"]]), []).append(row)
    return found


def label(row: Row) -> str:
    """Direction and layer."""
    return f"{row['direction']} of {row['name']}"
