"""What each algorithm takes on a GPU: layers of each kind, and others of the core suite, in three directions.

    python -m benchmarks.gpu OUT [--seconds 600] [--images 4] [--suite NAME ...] [--layer PART ...] [--direction ...]
        [--dtype ...] [--algorithm ...]

A convolution at a time is added to the file, in place of the same one where it is there, and an interrupted run leaves
the others as they are. Rows of other conditions are not mixed: another OUT, or --fresh. `jaxconv/_cuda.py` says what
came of it. In `gpu.json` some rows are of a run that waited for each call, and say so: of the shortest they tell
little. Those of "RepLK depthwise", forward, are with --hopeless 60.
"""

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import product
from pathlib import Path

from jaxconv import ALGORITHMS
from jaxconv._bench.by_jax import geometry
from jaxconv._bench.job import DIRECTIONS, Job
from jaxconv._bench.results import ResultsError, open_or_resume
from jaxconv._machine import conditions

from .layers import LAYERS
from .measure import begun, measured

DTYPES = ("float32", "bfloat16", "float16")  # the first two unless asked for
TOGETHER = 4  # convolutions whose programs are compiled at once


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--fresh", action="store_true", help="start the file of results anew")
    parser.add_argument("--seconds", type=float, default=600.0, help="after which nothing more is begun (%(default)g)")
    parser.add_argument("--images", type=int, default=4, help="times as many images as in the suite (%(default)s)")
    parser.add_argument("--hopeless", type=float, default=6.0, help="times the best: timed no further (%(default)g)")
    parser.add_argument("--suite", action="append", choices=LAYERS, help="default kinds and core")
    parser.add_argument("--layer", action="append", metavar="PART", help="only those with this in their names")
    parser.add_argument("--direction", action="append", choices=DIRECTIONS, help="default all")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="default float32 and bfloat16")
    parser.add_argument("--algorithm", action="append", choices=ALGORITHMS, help="beside lax's own, default all")
    options = parser.parse_args(arguments)
    try:
        results = open_or_resume(options.out, {"conditions": conditions()}, options.fresh)
    except ResultsError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    deadline, layers = time.monotonic() + options.seconds, {}
    for suite in options.suite or ("kinds", "core"):
        for name, layer in LAYERS[suite].items():
            if any(part in name for part in options.layer or [""]):
                layers.setdefault(name, (suite, layer._replace(images=layer.images * options.images)))
    jobs = [
        Job(suite, None, name, layer, direction, dtype, "NHWC")
        for (name, (suite, layer)), dtype, direction in product(
            layers.items(), options.dtype or DTYPES[:2], options.direction or DIRECTIONS
        )
    ]
    asked = {*(options.algorithm or ALGORITHMS)}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(jobs), TOGETHER):
            if time.monotonic() > deadline:
                break
            some = [(job, geometry(job)) for job in jobs[start : start + TOGETHER]]
            compiling = [(job, each, begun(each, asked, pool)) for job, each in some]
            wait([future for _, _, futures in compiling for future in futures.values()])  # or they disturb the times
            for job, each, futures in compiling:
                programs = {name: future.result() for name, future in futures.items()}
                row = {**job.to_json(), **measured(each, programs, options.hopeless)}
                seconds = row["seconds"]
                best = min(seconds, key=seconds.__getitem__)
                said = f"{best}, {seconds['xla'] / seconds[best]:.2f} times as fast as xla"
                print(f"{job.name}, {job.direction}, {job.dtype}: {said}", flush=True)
                results.put(row)


if __name__ == "__main__":
    main()
