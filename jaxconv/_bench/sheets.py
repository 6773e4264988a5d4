"""Tables of a report as plain text, for the terminal and for Markdown."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .figures import Line, compare, failures, geometric_mean, groups, label, losses, median, of_elementwise, of_matmul
from .job import DIRECTIONS
from .results import Row


class Sheet(NamedTuple):
    """A table: the first `words` columns hold words, the others numbers. Notes go below."""

    title: str
    columns: Sequence[str]
    rows: list[list[str]]
    words: int = 1
    notes: Sequence[str] = ()


def sheets(rows: list[Row], against: Sequence[str], approximate: bool, per_algorithm: bool) -> list[Sheet]:
    """All tables: means before details, and what was lost by name."""
    made = []
    for title, group in groups(rows).items():
        lines = compare(group, against, approximate)
        made.append(_means(title, lines, against))
        if any(row["layer"]["occurs"] > 1 for row in group):
            made.append(_whole(title, lines, against))
        made.append(_layers(title, lines, against))
        if per_algorithm:
            made.append(_algorithms(title, group))
    return made


def _means(title: str, lines: list[Line], against: Sequence[str]) -> Sheet:
    rows = []
    for direction in (*DIRECTIONS, "all"):
        mine = [line for line in lines if direction in ("all", line.row["direction"])]
        cells = [direction]
        for other in against:
            compared = [line for line in mine if other in line.ratios]
            worst = min(compared, key=lambda line: line.ratios[other], default=None)
            cells += [
                f"{geometric_mean(line.ratios[other] for line in compared):.2f}" if compared else "-",
                f"{len(losses(mine, other))} of {sum(median(line.row, other) is not None for line in mine)}",
                f"{worst.ratios[other]:.2f} {_name(worst.row, direction)}" if worst else "-",
            ]
        if mine:
            rows.append(cells)
    columns = ["direction"]
    for other in against:
        columns += [f"over {other}", "lost", "worst"]
    return Sheet(f"{title}: best algorithm over {' and '.join(against)}, geometric means", columns, rows)


def _name(row: Row, direction: str) -> str:
    return label(row) if direction == "all" else row["name"]


def _whole(title: str, lines: list[Line], against: Sequence[str]) -> Sheet:
    """Every layer as often as the network has it. Only layers that all compared have times for."""
    rows = []
    for direction in DIRECTIONS:
        mine = [line for line in lines if line.row["direction"] == direction]
        timed = [line for line in mine if line.best and all(other in line.ratios for other in against)]
        pickers: list[Callable[[Line], str]] = [lambda line: line.best or ""]
        pickers += [lambda line, other=other: other for other in against]
        sums = [
            sum((median(line.row, pick(line)) or 0) * line.row["layer"]["occurs"] for line in timed) for pick in pickers
        ]
        if timed:
            rows.append([direction, f"{len(timed)} of {len(mine)}", *map(milliseconds, sums)])
    columns = ["direction", "layers", "best ms", *(f"{other} ms" for other in against)]
    return Sheet(f"{title}: all convolutions of the network, one after the other", columns, rows)


def _layers(title: str, lines: list[Line], against: Sequence[str]) -> Sheet:
    rows, notes = [], []
    for line in lines:
        entry = line.row["backends"][line.best] if line.best else {}
        parts = [of(line.row, line.best) if line.best else None for of in (of_matmul, of_elementwise)]
        rows.append(
            [
                line.row["name"],
                line.row["direction"],
                line.best or "none",
                *(timed(line.row, name) for name in (line.best or "", *against)),
                *(f"{line.ratios[other]:.2f}" if other in line.ratios else "-" for other in against),
                *("-" if part is None else f"{part:.0%}" for part in parts),
                f"{entry['compile']:.2f}" if entry.get("compile") is not None else "-",
                f"{entry['workspace'] / 2**20:.1f}" if entry.get("workspace") is not None else "-",
            ]
        )
    for other in against:
        lost = losses(lines, other)
        named = "; ".join(f"{label(line.row)} {line.ratios.get(other, 0):.2f}" for line in lost)
        total = sum(median(line.row, other) is not None for line in lines)
        notes.append(f"Slower than {other} in {len(lost)} of {total}" + (f": {named}." if lost else "."))
    if rates := [line.row["matmul"] / 1e9 for line in lines if line.row["matmul"]]:
        notes.append(f"Matrix products meanwhile: {min(rates):.0f} to {max(rates):.0f} Gflop/s.")
    for line in lines:
        notes += [f"FAILED: {label(line.row)} by {name}: {why}" for name, why in failures(line.row).items()]
    columns = ["layer", "direction", "best", "ms", *(f"{other} ms" for other in against)]
    columns += [*(f"over {other}" for other in against), "of matmul", "of elementwise", "compile s", "workspace MiB"]
    return Sheet(f"{title}: layers", columns, rows, 3, notes)


def _algorithms(title: str, rows: list[Row]) -> Sheet:
    backends = list(dict.fromkeys(name for row in rows for name in row["backends"]))
    cells = [[row["name"], row["direction"], *(timed(row, name) for name in backends)] for row in rows]
    return Sheet(f"{title}: every backend, ms", ["layer", "direction", *backends], cells, 2)


def timed(row: Row, backend: str) -> str:
    """Median in ms and half the distance of the quartiles in percent of it; a word where there is none."""
    entry = row["backends"].get(backend, {})
    if backend in failures(row):
        return "failed"
    if median(row, backend) is None:
        return "cannot" if "cannot" in entry else "-"
    low, high = entry["quartiles"]
    spread = f" ±{(high - low) / 2 / entry['median']:.0%}" if entry["samples"] > 1 else " once"
    return milliseconds(entry["median"]) + spread


def milliseconds(seconds: float) -> str:
    """Three digits or more."""
    value = seconds * 1e3
    return f"{value:.{max(0, min(3, 2 - len(str(int(value))) + 1))}f}"
