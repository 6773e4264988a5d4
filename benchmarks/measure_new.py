"""Measure a new algorithm on the convolutions of training.json, for `fit_cost.py` to fit the cost model to.

    python benchmarks/measure_new.py OUT [--threads N]       again after an interruption: it goes on where it was
    python benchmarks/measure_new.py OUT ... --merge         puts its times into training.json

Whatever the machine: beside the algorithms that training.json has no times of, it measures, in turns within one
process, lax's and those that are near the best. Machines differ by a factor that depends on the convolution. It is what
these took here by what they took there; a new time divided by it goes into training.json.

Rows for other numbers of threads than this process may use are left for another run; `--threads` restricts it to so
many processors first (Linux).
"""

import argparse
import json
import os
import random
from pathlib import Path
from typing import Any

from fit_cost import TRAINING, load
from rich.progress import track

from jaxconv import ALGORITHMS, _autotune
from jaxconv._bench.figures import geometric_mean
from jaxconv._files import write_rows
from jaxconv._geometry import Geometry
from jaxconv._geometry_json import to_json
from jaxconv._machine import conditions, cores
from jaxconv._select import refusal
from jaxconv._settings import Settings

CHANGED = {"polyphase", "strips", "karatsuba"}  # since their times were taken: not to be compared with
FAR = 2.0  # times the best: not measured
FAR_LAX = 10.0  # the same of lax's own
SETTINGS = Settings("fast")
SAVED_EVERY = 20  # convolutions


def wanted(geometry: Geometry, seconds: dict[str, float]) -> list[str]:
    """The algorithms to measure, given the times that there are."""
    least = min(seconds.values())
    near = [name for name in ALGORITHMS if seconds.get(name, 0.0) <= (FAR_LAX if name == "xla" else FAR) * least]
    return [name for name in near if name != "naive" and not refusal(name, geometry, SETTINGS, "cpu")]


def measure(out: Path, threads: int | None) -> None:
    """All rows of this many threads that `out` does not have yet."""
    if threads is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])  # before XLA makes its threads
    content = json.loads(out.read_text()) if out.exists() else {"rows": []}
    rows: dict[str, dict[str, Any]] = {key(row): row for row in content["rows"]}
    order = load()
    random.Random(0).shuffle(order)  # what is there of an interrupted run is of all kinds
    for row in track(order, description=f"{cores()} threads"):
        fields = {"geometry": to_json(row.geometry), "threads": row.threads}
        if row.threads != cores() or key(fields) in rows:
            continue
        names = wanted(row.geometry, row.seconds)
        if row.seconds.keys() >= {*names}:  # nothing new takes this one
            continue
        medians, _ = _autotune.measured(row.geometry, names, SETTINGS)
        rows[key(fields)] = {**fields, "seconds": medians}
        if len(rows) % SAVED_EVERY == 0:
            write_rows(out, {"conditions": conditions()}, "rows", rows.values())
    write_rows(out, {"conditions": conditions()}, "rows", rows.values())


def taken(geometry: Geometry, seconds: dict[str, float]) -> dict[str, float]:
    """Without the times of algorithms that this one is for no longer."""
    return {name: time for name, time in seconds.items() if not refusal(name, geometry, SETTINGS, "cpu")}


def key(row: dict[str, Any]) -> str:
    """What two measurements of the same have in common."""
    return json.dumps([row["geometry"], row["threads"]])


def merge(outs: list[Path]) -> None:
    """training.json with the times of algorithms that it has none of."""
    contents = [json.loads(out.read_text()) for out in outs]
    times = {key(row): row["seconds"] for content in contents for row in content["rows"]}
    old, rows = json.loads(TRAINING.read_text()), []
    for fields, row in zip(old["rows"], load(), strict=True):
        here = times.get(key({"geometry": to_json(row.geometry), "threads": row.threads}), {})
        both = [name for name in here if name in row.seconds and name not in CHANGED]
        if both:
            factor = geometric_mean(here[name] / row.seconds[name] for name in both)
            new = {name: float(f"{here[name] / factor:.6g}") for name in here if name not in row.seconds}
            fields = {**fields, "seconds": {**row.seconds, **new}}
        rows.append({**fields, "seconds": taken(row.geometry, fields["seconds"])})
    added = [
        {**content["conditions"], "rounds": _autotune.ROUNDS, "seconds": _autotune.ROUND_SECONDS}
        for content in contents
    ]
    write_rows(TRAINING, {"conditions": [*old["conditions"], *added]}, "rows", rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, help="processors to use (default all)")
    parser.add_argument("--merge", action="store_true", help="measure nothing")
    options = parser.parse_args()
    if options.merge:
        merge(options.out)
    elif len(options.out) > 1:
        parser.error("times are written to one file")
    else:
        measure(options.out[0], options.threads)


if __name__ == "__main__":
    main()
