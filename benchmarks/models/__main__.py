"""Whole training steps of networks written in flax, by lax, by jaxconv and by PyTorch.

    python -m benchmarks.models [--model NAME] [--contestant NAME] [--markdown FILE]

from the root of the repository. A step is the forward and the backward pass and an update by gradient descent with
momentum, float32, random data. Contestants: "lax", "jaxconv" (the same step within `jaxconv.accelerate`), "jaxconv,
plan" (that within a plan made by `jaxconv.autotune`) and "torch" (the same network, of both memory formats the better).
Each runs in a process of its own, in turns; all start from the same parameters, and the losses of the first steps are
compared.

The results are written after each model. The same command goes on where it was interrupted; --model measures again
what is named. Rows of other code, versions or settings are not mixed: --out another file, or --fresh.
"""

import argparse
from pathlib import Path

from jaxconv._bench.device import find, without_torch
from jaxconv._bench.environment import environment
from jaxconv._bench.figures import failures
from jaxconv._bench.report import show, write_markdown
from jaxconv._bench.results import ResultsError, open_or_resume
from jaxconv._bench.results import identity as key
from jaxconv._command.command import positive, terminal

from .architectures import MODELS
from .report import EXPLANATION, TITLE, sheets
from .run import CONTESTANTS, Settings, identity, measure

OUT = Path(__file__).parent.with_suffix(".json")


def main(arguments: list[str] | None = None) -> int:
    """Measure and report. Returns 0, or 1 if a contestant failed, or 130 if interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.models", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", choices=MODELS, help="default all; several times for several")
    parser.add_argument("--contestant", action="append", choices=CONTESTANTS, help="the same")
    parser.add_argument("--batch", type=positive, default=8, help="images in a step (%(default)s)")
    parser.add_argument("--rounds", type=positive, default=3, help="turns of each contestant (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="in each turn (%(default)s)")
    parser.add_argument("--keep-memory", action="store_true", help="in all processes, as by jaxconv.keep_memory")
    parser.add_argument("--out", type=Path, default=OUT, help="results (benchmarks/models.json)")
    parser.add_argument("--fresh", action="store_true", help="start the file of results anew")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    options = parser.parse_args(arguments)

    console = terminal()
    contestants = [name for name in CONTESTANTS if name in (options.contestant or CONTESTANTS)]
    try:
        device = find()
    except RuntimeError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    if "torch" in contestants and (lack := without_torch(device.platform)):
        if options.contestant:
            parser.exit(2, f"{parser.prog}: --contestant torch cannot be: {lack}\n")
        console.print(f"PyTorch is left out: {lack}", markup=False)
        contestants.remove("torch")
    settings = Settings(options.batch, options.rounds, options.seconds, keep_memory=options.keep_memory)
    header = {"environment": environment(device), "settings": settings._asdict()}
    try:
        results = open_or_resume(options.out, header, options.fresh)
    except ResultsError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    try:
        for name in options.model or MODELS:
            old = results.rows.get(key(identity(MODELS[name], settings)))
            if options.model or old is None or set(old["backends"]) != set(contestants):
                with console.status(name):
                    results.put(measure(MODELS[name], contestants, settings, device))
                console.print(f"{name}: measured", highlight=False)
    except KeyboardInterrupt:
        console.print(f"Interrupted. {options.out} has what was measured: the same command goes on from there.")
        return 130

    rows = [row for name in MODELS for row in results.rows.values() if row["name"] == name]
    made = sheets(rows)
    show(console, made, EXPLANATION)
    if options.markdown:
        write_markdown(options.markdown, results.header, made, TITLE, EXPLANATION)
    return int(any(failures(row) for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
