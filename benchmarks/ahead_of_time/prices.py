"""Which of the compiler's estimates can be believed.

XLA predicts a time from what it counts: bytes over bandwidth, or operations over the rate of the matrix unit. It counts
what is in the program, so the body of a loop once, however often it runs; and where it has no price for an operation it
puts -1 second into the sum. Such a sum says nothing about the program and is no ground to prefer it.
"""

from typing import Any

from jaxconv._bench.figures import APPROXIMATE
from jaxconv._bench.results import Row

# How many multiply-adds of the direct sum one product stands for, for each axis: no program has fewer of them.
SAVED = {"winograd2": 1.5, "winograd4": 2.0, "karatsuba": 4 / 3}
UNCOUNTED = ("fft",)  # whose operations do not go by the taps


def doubt(row: Row, name: str) -> str:
    """Why the estimate of a program that compiled is not to be used, or ""."""
    entry, algorithm = row["backends"][name], name.split(",")[0]
    if entry["loops"]:
        return "a loop, whose body is counted once"
    if entry["seconds"] <= 0:
        return "an operation without a price"
    axes = len(row["layer"]["spatial"])
    least = row["products"] / SAVED.get(algorithm, 1.0) ** axes  # of multiplications alone
    if algorithm not in UNCOUNTED and entry["flops"] < least:
        return "fewer operations than it must have"
    return ""


def compiled(row: Row) -> dict[str, dict[str, Any]]:
    """Backend -> what the compiler says of it, of those that compiled."""
    return {name: entry for name, entry in row["backends"].items() if "seconds" in entry}


def priced(row: Row) -> dict[str, float]:
    """Backend -> seconds that can be believed."""
    return {name: entry["seconds"] for name, entry in compiled(row).items() if not doubt(row, name)}


def best(row: Row) -> str | None:
    """The one of ours that is expected to take least, without those of another class of error."""
    ours = {name: seconds for name, seconds in priced(row).items() if name.split(",")[0] not in ("lax", *APPROXIMATE)}
    return min(ours, key=ours.__getitem__, default=None)


def gain(row: Row) -> float | None:
    """How many times as fast as lax that is expected to be, None where either has no price."""
    ours, prices = best(row), priced(row)
    return prices["lax"] / prices[ours] if ours and "lax" in prices else None
