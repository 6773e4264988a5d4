"""What each algorithm takes on a GPU: layers of each kind, and others of the core suite, in three directions.

    python benchmarks/gpu.py OUT [--seconds 600] [--images 4] [--suite NAME ...] [--layer PART ...] [--direction ...]
        [--algorithm ...]

Suites: "kinds", "core", and "nearby", layers between those that cuDNN was found to be slow at and the usual ones.

One process: on a GPU backends do not spoil each other's threads. The programs of a convolution are compiled side by
side, and then take turns; a time is that of calls in a row, the last of which is waited for, so that what it costs to
start one is hidden as it is in a program. A convolution at a time is added to the file, in place of the same one where
it is there, and an interrupted run leaves the others as they are. Rows of other conditions are not mixed: another OUT,
or --fresh. `jaxconv/_cuda.py` says what came of it. In `gpu.json` some rows are of a run that waited for each call, and
say so: of the shortest they tell little. Those of "RepLK depthwise", forward, are with --hopeless 60.
"""

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import jax

from jaxconv import ALGORITHMS, conv_general_dilated
from jaxconv._bench.by_jax import function
from jaxconv._bench.job import DIRECTIONS, Job
from jaxconv._bench.layer import Layer
from jaxconv._bench.results import ResultsError, open_or_resume
from jaxconv._bench.suites import CORE, KINDS
from jaxconv._collect import convolutions
from jaxconv._geometry import Geometry
from jaxconv._machine import conditions
from jaxconv._measure import clocked, workspace_bytes
from jaxconv._parameters import to_params
from jaxconv._sampled import random_operands, sampled_errors
from jaxconv._settings import Settings
from jaxconv._trials import candidates

SETTINGS = Settings("fast")
ROUNDS, ROUND_SECONDS, MOST_CALLS = 3, 0.008, 60
NEARBY = {
    **{
        f"depthwise {taps}x{taps}": Layer(4, 64, (64, 64), 64, taps, padding=taps // 2, groups=64)
        for taps in (13, 21, 9, 17, 25, 5)
    },
    "depthwise 13x13, 28x28": Layer(8, 256, (28, 28), 256, 13, padding=6, groups=256),
    "depthwise 7x7, 14x14": Layer(8, 384, (14, 14), 384, 7, padding=3, groups=384),
    "1-D, 2 taps": Layer(8, 64, (4096,), 128, 2),
    "1-D, 2 taps, dilated 64": Layer(8, 64, (4096,), 128, 2, dilation=64),
    "1-D, 3 taps": Layer(8, 128, (4096,), 128, 3, padding=1),
    "1-D, 3 taps, dilated 3": Layer(8, 128, (4096,), 128, 3, padding=3, dilation=3),
    "1-D, 11 taps, dilated 5": Layer(2, 32, (16384,), 32, 11, padding=25, dilation=5),
    "dilated 8": Layer(4, 64, (64, 64), 64, 3, padding=8, dilation=8),
    "1-D depthwise, 7 taps": Layer(2, 512, (1024,), 512, 7, padding=3, groups=512),
    "1-D depthwise, 15 taps": Layer(2, 512, (1024,), 512, 15, padding=7, groups=512),
    "Conv-TasNet depthwise": Layer(4, 512, (1024,), 512, 3, padding=4, dilation=4, groups=512),
    "Conformer depthwise": Layer(2, 512, (1024,), 512, 31, padding=15, groups=512),
    "Mamba depthwise": Layer(2, 1536, (2048,), 1536, 4, padding=(3, 0), groups=1536),
    "X3D depthwise": Layer(1, 108, (16, 56, 56), 108, 3, padding=1, groups=108),
    "depthwise 3x3, dilated 2": Layer(2, 144, (56, 56), 144, 3, padding=2, dilation=2, groups=144),
    "long depthwise": Layer(2, 128, (4096,), 128, 1024, padding=(1023, 0), groups=128),
    "depthwise 5x5, strided": Layer(2, 240, (56, 56), 240, 5, stride=2, padding=2, groups=240),
    "depthwise 3x3, two each": Layer(2, 64, (56, 56), 128, 3, padding=1, groups=64),
    "3-D grouped": Layer(1, 128, (8, 28, 28), 128, 3, padding=1, groups=32),
}
LAYERS = {"kinds": KINDS, "core": CORE, "nearby": NEARBY}


def compiled(name: str, geometry: Geometry, operands: Any) -> Any:
    """The program, or what went wrong, in words."""
    arguments = {**to_params(geometry), "algorithm": name, "accuracy": SETTINGS.accuracy}
    try:
        return jax.jit(partial(conv_general_dilated, **arguments)).lower(*operands).compile()
    except jax.errors.JaxRuntimeError as error:
        return f"{error}"[:300]


def run(program: Any, operands: Any, times: int) -> Any:
    """Calls in a row, and the last result."""
    out = None
    for _ in range(times):
        out = program(*operands)
    return jax.block_until_ready(out)


def measured(geometry: Geometry, pool: ThreadPoolExecutor, hopeless: float, asked: set[str]) -> dict[str, Any]:
    """Algorithm -> seconds, errors and bytes, of those asked for and lax's own, "xla". What takes so many times the
    fastest first call is timed no further."""
    lhs, rhs = random_operands(geometry)
    operands = jax.device_put((lhs, rhs))
    names = [name for name in candidates(geometry, SETTINGS) if name == "xla" or name in asked]
    programs = dict(zip(names, pool.map(lambda name: compiled(name, geometry, operands), names), strict=True))
    failed = {name: program for name, program in programs.items() if isinstance(program, str)}
    programs = {name: program for name, program in programs.items() if name not in failed}
    found = {"failed": failed, "errors": {}, "workspace": {}, "seconds": {}}
    first = {}
    for name, program in programs.items():
        found["errors"][name] = float(
            f"{sampled_errors(run(program, operands, 1), lhs, rhs, geometry).componentwise:.3g}"
        )
        found["workspace"][name] = workspace_bytes(program)
        first[name] = min(clocked(lambda p=program: run(p, operands, 1)) for _ in range(2))
    fast = [name for name, seconds in first.items() if name == "xla" or seconds <= hopeless * min(first.values())]
    for _ in range(ROUNDS):
        for name in fast:
            calls = max(2, min(MOST_CALLS, int(ROUND_SECONDS / first[name]) + 1))
            seconds = clocked(lambda name=name, calls=calls: run(programs[name], operands, calls)) / calls
            found["seconds"][name] = float(f"{min(seconds, found['seconds'].get(name, seconds)):.4g}")
    return found


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--fresh", action="store_true", help="start the file of results anew")
    parser.add_argument("--seconds", type=float, default=600.0, help="after which nothing more is begun (%(default)g)")
    parser.add_argument("--images", type=int, default=4, help="times as many images as in the suite (%(default)s)")
    parser.add_argument("--hopeless", type=float, default=6.0, help="times the best: timed no further (%(default)g)")
    parser.add_argument("--suite", action="append", choices=LAYERS, help="default kinds and core")
    parser.add_argument("--layer", action="append", metavar="PART", help="only those with this in their names")
    parser.add_argument("--direction", action="append", choices=DIRECTIONS, help="default all")
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
                layers.setdefault(name, (suite, layer))
    directions, asked = options.direction or DIRECTIONS, {*(options.algorithm or ALGORITHMS)}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for (name, (suite, layer)), dtype, direction in product(layers.items(), ("float32", "bfloat16"), directions):
            if time.monotonic() > deadline:
                break
            layer = layer._replace(images=layer.images * options.images)
            job = Job(suite, None, name, layer, direction, dtype, "NHWC")
            f, structs = function(job)
            [found] = convolutions(f, *structs)
            row = {**job.to_json(), **measured(found.geometry, pool, options.hopeless, asked)}
            seconds = row["seconds"]
            best = min(seconds, key=seconds.__getitem__)
            print(f"{name}, {direction}, {dtype}: {best}, {seconds['xla'] / seconds[best]:.2f} times as fast as xla")
            results.put(row)


if __name__ == "__main__":
    main()
