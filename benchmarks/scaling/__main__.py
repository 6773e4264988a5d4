"""Training steps of U-Nets on large images, compiled for slices of TPU v5e, ahead of time and without any.

    python -m benchmarks.scaling [--network PART] [--slice NAME] [--contestant NAME] [--markdown FILE]

from the root of the repository, with the compiler installed: pip install -e '.[tpu]'. Images of 2048x2048 and volumes
of 256^3 are shared out among the chips along two of their axes. Nothing is run, so nothing is measured: what comes out
is the memory that a chip needs, what chips send each other, what XLA expects of it, and a model of it for more chips.

The results are written after each program. The same command goes on where it was interrupted. Programs of other code or
versions are not mixed: --out another file, or --fresh.
"""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import compiling
from jaxconv._bench.results import Results, open_or_resume

from . import report
from .layouts import KIND, SLICES, layouts
from .networks import NETWORKS
from .run import CONTESTANTS, Program, compile_all

OUT = Path(__file__).parent.with_suffix(".json")
EFFORT = -1.0  # at which programs compile in a third of the time


def main(arguments: list[str] | None = None) -> int:
    """Compile and report. Returns 0, or 1 if a program does not compile, or 130 if interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", action="append", metavar="PART", help="only networks with this in their name")
    parser.add_argument("--slice", action="append", choices=SLICES, help="default all; several for several")
    parser.add_argument("--contestant", action="append", choices=CONTESTANTS, help="the same")
    parser.add_argument("--effort", type=float, default=EFFORT, help="of the compiler, -1 to 1 (%(default)s)")
    compiling.add_options(parser, OUT)
    options = parser.parse_args(arguments)
    return compiling.run(parser, options, lambda console: _compile(options, parser, console), report)


def _compile(options: argparse.Namespace, parser: argparse.ArgumentParser, console: Console) -> Results:
    networks = [name for name in NETWORKS if any(part in name for part in options.network or [""])]
    if not networks:
        parser.exit(2, f"{parser.prog}: no network has {' or '.join(map(repr, options.network))} in its name\n")
    slices = [name for name in SLICES if name in (options.slice or SLICES)]
    programs = [Program(name, slice_, layout) for slice_ in slices for name in networks for layout in layouts(slice_)]
    programs.sort(key=lambda one: one.layout.data > 1)  # an image over the whole slice first: of most interest
    contestants = [name for name in CONTESTANTS if name in (options.contestant or CONTESTANTS)]
    results = open_or_resume(options.out, header(options.effort), options.fresh)
    compile_all(programs, contestants, options.effort, results, console)
    return results


def header(effort: float) -> dict[str, Any]:
    """What the programs depend on."""
    return {"environment": compiling.environment(), "settings": {"target": KIND, "effort": effort}}


if __name__ == "__main__":
    raise SystemExit(main())
