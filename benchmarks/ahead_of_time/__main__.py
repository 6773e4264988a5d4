"""Every algorithm compiled for a TPU, ahead of time and without one: XLA's own estimates beside those of lax.

    python -m benchmarks.ahead_of_time [--layer PART] [--direction NAME] [--dtype NAME] [--algorithm NAME]

from the root of the repository, with the compiler installed: pip install -e '.[tpu]'. Nothing is run, so nothing is
measured: what comes out is whether each program compiles, and what XLA expects of it.

The results are written after each program. The same command goes on where it was interrupted. Programs of other code or
versions are not mixed: --out another file, or --fresh. Some programs take the compiler longer than anybody waits: one
that takes longer than --limit is kept as such, and tried again under a higher one.
"""

import argparse
import math
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import compiling
from jaxconv._bench.job import DIRECTIONS
from jaxconv._bench.results import Results, open_or_resume
from jaxconv._command.bench import jobs

from . import report
from .run import BACKENDS, BOUNDS, compile_all

OUT = Path(__file__).parent.with_suffix(".json")
DTYPES = ("float32", "bfloat16")


def main(arguments: list[str] | None = None) -> int:
    """Compile and report. Returns 0, or 1 if a program does not compile, or 130 if interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ahead_of_time",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--layer", action="append", metavar="PART", help="only layers with this in their name")
    parser.add_argument("--direction", action="append", choices=DIRECTIONS, help="default all; several for several")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="the same")
    parser.add_argument("--algorithm", action="append", choices=BACKENDS[1:], help="the same")
    parser.add_argument(
        "--limit", type=_minutes, default=15.0, metavar="MINUTES", help="for each program (%(default)g)"
    )
    compiling.add_options(parser, OUT)
    options = parser.parse_args(arguments)
    options.suite, options.batch, options.layout, options.dtype = ["kinds"], None, None, options.dtype or list(DTYPES)
    return compiling.run(parser, options, lambda console: _compile(options, parser, console), report)


def _compile(options: argparse.Namespace, parser: argparse.ArgumentParser, console: Console) -> Results:
    chosen = jobs(options)
    if not chosen:
        parser.exit(2, f"{parser.prog}: no layer has {' or '.join(map(repr, options.layer))} in its name\n")
    results = open_or_resume(options.out, header(), options.fresh)
    backends = [name for name in BACKENDS if name == "lax" or name in (options.algorithm or BACKENDS)]
    compile_all(chosen, backends, 60 * options.limit, results, console)
    return results


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no time to wait")
    return minutes


def header() -> dict[str, Any]:
    """What the programs depend on."""
    from .programs import TOPOLOGY

    settings = {"target": TOPOLOGY, "bounds": list(BOUNDS.values())}
    return {"environment": compiling.environment(), "settings": settings}


if __name__ == "__main__":
    raise SystemExit(main())
