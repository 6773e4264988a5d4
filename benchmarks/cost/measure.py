"""Measure the convolutions of training.json, a new algorithm or all, or new ones, for the cost model to be fitted to.

    python -m benchmarks.cost.measure OUT [--threads N]     again after an interruption: it goes on where it was
    python -m benchmarks.cost.measure OUT --suite NAME ...  the convolutions of a suite as well, of a --batch, --dtype,
                                                            --layout, and forward alone with a --result of another type
    python -m benchmarks.cost.measure OUT --drawn N ...     so many layers drawn at random as well
    python -m benchmarks.cost.measure OUT ... --merge       puts its times into training.json, and those of plans that
                                                            `python -m benchmarks.models.plans` makes
    python -m benchmarks.cost.measure OUT ... --anew ...    the same with all convolutions, for times of one machine
    python -m benchmarks.cost.measure OUT --doubtful ...    what is far from a fit to them, once more: other work makes
                                                            times longer, so the lesser counts
    python -m benchmarks.cost.measure OUT ... --keep        puts new convolutions into unfitted.json, for the model to
                                                            be judged by, and not fitted to

Whatever the machine: beside the algorithms that training.json has no times of, it measures, in turns within one
process, lax's and those that are near the best. Machines differ by a factor that depends on the convolution. It is what
these took here by what they took there; a new time divided by it goes into training.json. With `--anew` the times from
here do, and the old ones of algorithms that are far from the best, times that factor.

Rows for other numbers of threads than this process may use are left for another run; `--threads` restricts it to so
many processors first (Linux).
"""

import argparse
import json
import os
import random
from math import log
from pathlib import Path
from typing import Any

import jax
from rich.progress import track

from jaxconv import ALGORITHMS, _trials
from jaxconv._bench.figures import geometric_mean
from jaxconv._bench.job import DIRECTIONS, Job
from jaxconv._bench.layer import LAYOUTS, Layer
from jaxconv._bench.suites import FIXED, SUITES, suite
from jaxconv._files import write_rows
from jaxconv._geometry import Geometry
from jaxconv._geometry_json import from_json, to_json
from jaxconv._machine import conditions, cores
from jaxconv._select import refusal
from jaxconv._settings import Settings

from .drawn import drawn
from .fit import fit, predicted
from .rows import TRAINING, UNFITTED, Row, load, of_cpu, of_plan, row_of

FAR = 2.0  # times the best: not measured
FAR_ANEW = 3.0  # the same where the times are of another machine
FAR_LAX = 10.0  # of lax's own
SETTINGS = Settings("fast")
SAVED_EVERY = 20  # convolutions
DOUBTFUL = 1.65  # times a prediction, or by it


def wanted(geometry: Geometry, seconds: dict[str, float], far: float) -> list[str]:
    """The algorithms to measure, given the times that there are."""
    least = min(seconds.values())
    near = [name for name in ALGORITHMS if seconds.get(name, 0.0) <= (FAR_LAX if name == "xla" else far) * least]
    return [name for name in near if name != "naive" and not refusal(name, geometry, SETTINGS, "cpu")]


def of_layers(
    name: str, batch: int | None, layers: dict[str, Layer], dtype: str, layout: str, result: str | None
) -> list[dict[str, Any]]:
    """The convolutions of a suite's layers in all directions, without times."""
    more = {"threads": cores(), "seconds": {}, **({"result": result} if result else {})}
    return [
        {**Job(name, batch, label, layer, direction, dtype, layout).to_json(), **more}
        for label, layer in layers.items()
        for direction in (DIRECTIONS[:1] if result else DIRECTIONS)  # gradients have operands of the wider type
    ]


def measure(out: Path, anew: bool, more: list[dict[str, Any]]) -> None:
    """All rows of this many threads that `out` does not have yet and that have something new, or `anew` all."""
    rows, order = _so_far(out), [(row, {}) for row in load()]
    known = {key(fields_of(row)) for row, _ in order}
    order += [(row_of(fields), {"job": fields}) for fields in more]
    random.Random(0).shuffle(order)  # what is there of an interrupted run is of all kinds
    for row, job in track(order, description=f"{cores()} threads"):
        fields = {**fields_of(row), **job}
        if row.threads != cores() or key(fields) in rows or (job and key(fields) in known):
            continue
        if row.seconds:
            names = wanted(row.geometry, row.seconds, FAR_ANEW if anew else FAR)
        else:
            names = _trials.candidates(row.geometry, SETTINGS)
        if row.seconds.keys() >= {*names} and not anew:  # nothing new takes this one
            continue
        medians, _ = _trials.measured(row.geometry, names, SETTINGS)
        rows[key(fields)] = {**fields, "seconds": medians}
        if len(rows) % SAVED_EVERY == 0:
            jax.clear_caches()  # nobody will run these programs again
            _save(out, rows)
    _save(out, rows)


def measure_doubtful(out: Path) -> None:
    """Once more what `out` has, where a time is far from a fit to it and training.json: other work may be why."""
    rows = _so_far(out)
    found = [Row("", "", "", "", from_json(row["geometry"]), row["threads"], row["seconds"]) for row in rows.values()]
    fits = fit([*load(), *found])
    for name, row in track([*zip(rows, found, strict=True)], description=f"{cores()} threads"):
        guesses = {each: predicted(fits, each, row) for each in row.seconds}
        off = [abs(log(row.seconds[each] / guess)) for each, guess in guesses.items() if guess]
        if max(off, default=0.0) > log(DOUBTFUL):
            medians, _ = _trials.measured(row.geometry, [*row.seconds], SETTINGS)
            rows[name]["seconds"] = {each: min(time, row.seconds[each]) for each, time in medians.items()}
            _save(out, rows)


def _so_far(out: Path) -> dict[str, dict[str, Any]]:
    content = json.loads(out.read_text()) if out.exists() else {"rows": []}
    return {key(row): row for row in content["rows"]}


def _save(out: Path, rows: dict[str, dict[str, Any]]) -> None:
    write_rows(out, {"conditions": conditions()}, "rows", rows.values())


def taken(geometry: Geometry, seconds: dict[str, float]) -> dict[str, float]:
    """To six digits, without the times of algorithms that this one is for no longer."""
    able = [name for name in seconds if not refusal(name, geometry, SETTINGS, "cpu")]
    return {name: float(f"{seconds[name]:.6g}") for name in able}


def fields_of(row: Row) -> dict[str, Any]:
    """What says which measurement it is."""
    return {"geometry": to_json(row.geometry), "threads": row.threads}


def key(row: dict[str, Any]) -> str:
    """What two measurements of the same have in common."""
    return json.dumps([row["geometry"], row["threads"]])


def merge(outs: list[Path], anew: bool) -> None:
    """training.json with the times of algorithms that it has none of, or `anew` with those from here in their place."""
    contents = [_rows_and_conditions(out) for out in outs]
    times = {key(row): row["seconds"] for content in contents for row in content["rows"]}
    old, rows, known = json.loads(TRAINING.read_text()), [], {key(fields_of(row)) for row in load(UNFITTED)}
    for fields, row in zip(old["rows"], load(), strict=True):
        known.add(key(fields_of(row)))
        here = times.get(key(fields_of(row)), {})
        both = [name for name in here if name in row.seconds]
        if both:
            factor = geometric_mean(here[name] / row.seconds[name] for name in both)
            there = {name: time * factor for name, time in row.seconds.items()} if anew else row.seconds
            new = here if anew else {name: time / factor for name, time in here.items() if name not in there}
            fields = {**fields, "seconds": {**there, **new}}
        rows.append({**fields, "seconds": taken(row.geometry, fields["seconds"])})
    rows += unknown(contents, known)
    write_rows(TRAINING, {"conditions": [*old["conditions"], *conditions_of(contents)]}, "rows", rows)


def keep(outs: list[Path]) -> None:
    """unfitted.json with those convolutions that neither file has."""
    contents, old = [_rows_and_conditions(out) for out in outs], json.loads(UNFITTED.read_text())
    known = {key(fields_of(row)) for row in (*load(), *load(UNFITTED))}
    rows = [*old["rows"], *unknown(contents, known)]
    write_rows(UNFITTED, {"conditions": [*old["conditions"], *conditions_of(contents)]}, "rows", rows)


def unknown(contents: list[dict[str, Any]], known: set[str]) -> list[dict[str, Any]]:
    """The rows of convolutions that are not known, as jobs with their times."""
    found: dict[str, dict[str, Any]] = {}
    for row in (row for content in contents for row in content["rows"] if "job" in row and key(row) not in known):
        found.setdefault(key(row), {**row["job"], "seconds": taken(from_json(row["geometry"]), row["seconds"])})
    return [*found.values()]


def conditions_of(contents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the times were taken with."""
    return [
        {**content["conditions"], "rounds": _trials.ROUNDS, "seconds": _trials.ROUND_SECONDS} for content in contents
    ]


def _rows_and_conditions(out: Path) -> dict[str, Any]:
    """What this measured, or a plan has."""
    content = json.loads(out.read_text())
    of_cpu(out, content)
    if "convolutions" in content:
        content["rows"] = [{**row, "job": row} for row in of_plan(out, content)]
    return content


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, help="processors to use (default all)")
    parser.add_argument(
        "--anew", action="store_true", help="all convolutions, and in place of the times that there are"
    )
    parser.add_argument("--doubtful", action="store_true", help="once more what looks wrong")
    parser.add_argument("--suite", action="append", default=[], choices=[*SUITES], help="convolutions to add")
    parser.add_argument("--drawn", type=int, default=0, metavar="N", help="layers drawn at random to add")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing (default 0)")
    parser.add_argument("--batch", type=int, default=8, help="images in suites (default 8)")
    parser.add_argument("--dtype", default="float32", help="of their operands (default float32)")
    parser.add_argument("--layout", default="NHWC", choices=LAYOUTS, help="of their arrays (default NHWC)")
    parser.add_argument("--result", metavar="DTYPE", help="their preferred_element_type (default none)")
    parser.add_argument("--merge", action="store_true", help="measure nothing")
    parser.add_argument("--keep", action="store_true", help="measure nothing either")
    options = parser.parse_args()
    if options.threads is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])  # before XLA makes its threads
    if options.merge:
        merge(options.out, options.anew)
    elif options.keep:
        keep(options.out)
    elif len(options.out) > 1:
        parser.error("times are written to one file")
    elif options.doubtful:
        measure_doubtful(options.out[0])
    else:
        how, more = (options.dtype, options.layout, options.result), []
        for name in options.suite:
            batch = None if name in FIXED else options.batch
            more += of_layers(name, batch, suite(name, options.batch), *how)
        more += of_layers("drawn", None, drawn(options.drawn, options.seed), *how)
        measure(options.out[0], options.anew, more)


if __name__ == "__main__":
    main()
