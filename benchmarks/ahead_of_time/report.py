"""Tables of the results."""

from collections import Counter
from collections.abc import Sequence

from jaxconv._bench.figures import failures
from jaxconv._bench.results import Row
from jaxconv._bench.sheets import Sheet

from .prices import best, compiled, doubt, gain, priced
from .run import BACKENDS

TITLE = "Compiled for a TPU, ahead of time"
EXPLANATION = (
    "Nothing was run, on a TPU or anywhere else: these are XLA's own estimates and no measurements. They are mostly "
    "bytes over bandwidth; what else could make a program slow is hardly in them. over lax: the estimate for lax by "
    "that for ours, above 1 ours is expected to be faster; MB: read and written, as XLA counts it; MiB: temporaries; "
    "at once: under a bound of 2 GiB on workspace instead of 16 MiB, so that there is no loop. Programs with loops, "
    "whose bodies XLA counts once, and those with operations that it has no price for, are not compared. The best of "
    "ours is without winograd4 and fft, whose error is of another class, and of those that were tried."
)
EVEN = 1.05  # within which an estimate makes no difference


def sheets(rows: Sequence[Row]) -> list[Sheet]:
    """What would be gained, what compiles, and what has no price."""
    return [_gains(rows), _programs(rows)]


def failed(rows: Sequence[Row]) -> list[str]:
    """What does not compile, and why."""
    return [f"{_label(row)} by {name}: {why}" for row in rows for name, why in failures(row).items()]


def unfinished(rows: Sequence[Row]) -> list[str]:
    """What took the compiler longer than it was given, and how long that was."""
    return [
        f"within {entry['timeout'] / 60:g} minutes: {_label(row)} by {name}"
        for row in rows
        for name, entry in row["backends"].items()
        if "timeout" in entry
    ]


def verdicts(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Convolutions by what XLA expects of the best of ours: "faster", "even", "slower", "no estimate"."""
    found: dict[str, list[str]] = {"faster": [], "even": [], "slower": [], "no estimate": []}
    for row in rows:
        ratio = gain(row)
        if ratio is None:
            found["no estimate"].append(_label(row))
        else:
            word = "faster" if ratio > EVEN else "even" if ratio >= 1 / EVEN else "slower"
            found[word].append(f"{_label(row)} {ratio:.2f}")
    return found


def _gains(rows: Sequence[Row]) -> Sheet:
    cells = []
    for row in rows:
        entries, ours, prices, ratio = row["backends"], best(row), priced(row), gain(row)
        pair = ("lax" if "seconds" in entries.get("lax", {}) else None, ours)
        cells.append(
            [
                row["name"],
                row["direction"],
                row["dtype"],
                ours or "none",
                *(f"{prices[name] * 1e6:.0f}" if name in prices else "-" for name in pair),
                "-" if ratio is None else f"{ratio:.2f}",
                *(f"{entries[name]['bytes'] / 1e6:.1f}" if name else "-" for name in pair),
                *(f"{entries[name]['temporaries'] / 2**20:.1f}" if name else "-" for name in pair),
            ]
        )
    found = verdicts(rows)
    notes = [
        "Best of ours against lax, as XLA expects it: "
        + ", ".join(f"{word} {len(labels)}" for word, labels in found.items())
        + f" of {len(rows)} (even: within a factor of {EVEN})."
    ]
    if found["faster"]:
        notes.append("Expected to be faster: " + "; ".join(found["faster"]) + ".")
    columns = ["layer", "direction", "type", "best of ours", "lax us", "us", "over lax"]
    return Sheet("estimates", [*columns, "lax MB", "MB", "lax MiB", "MiB"], cells, 4, notes)


def _programs(rows: Sequence[Row]) -> Sheet:
    names = list(dict.fromkeys(name for row in rows for name in row["backends"]))
    cells, reasons = [], Counter[str]()
    for name in names:
        there = [row for row in rows if name in compiled(row)]
        doubts = [why for row in there if (why := doubt(row, name))]
        reasons.update(doubts)
        counts = (
            len(there),
            sum("cannot" in row["backends"].get(name, {}) for row in rows),
            sum(name in failures(row) for row in rows),
            sum("timeout" in row["backends"].get(name, {}) for row in rows),
        )
        untried = len(rows) - sum(counts) if name in BACKENDS else 0
        cells.append([name, *map(str, counts), str(len(there) - len(doubts)), str(untried)])
    notes = [f"Without an estimate: {count} for {why}." for why, count in reasons.most_common()]
    notes += [f"Not compiled {line}." for line in unfinished(rows)]
    notes += [f"FAILED: {line}" for line in failed(rows)]
    columns = ["backend", "compiled", "refused", "failed", "unfinished", "with an estimate", "not tried"]
    return Sheet("programs", columns, cells, 1, notes)


def _label(row: Row) -> str:
    return f"{row['direction']} of {row['name']}, {row['dtype']}"
