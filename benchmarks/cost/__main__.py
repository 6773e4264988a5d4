"""Fit the cost model, `jaxconv/_cost.json`, to measurements, and say how well it does on layers it was not fitted to.

    python -m benchmarks.cost                     fit to training.json, judge, write _cost.json and cost.md
    python -m benchmarks.cost results.json ...    condense results of `python -m jaxconv bench`, and plans as
                                                  `python -m benchmarks.models.plans` makes them, to training.json first

`python -m benchmarks.cost.measure` adds what is new to training.json.
"""

import argparse
from pathlib import Path

from jaxconv._files import write_atomically

from .fit import fit, write_model
from .judge import report
from .rows import TRAINING, UNFITTED, condense, load

REPORT = TRAINING.with_name("cost.md")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cost", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="*", type=Path, help="of `python -m jaxconv bench`, to condense first")
    parser.add_argument("--margin", type=float, default=1.15)
    arguments = parser.parse_args()
    if arguments.results:
        condense(arguments.results)
    rows = load()
    fits = fit(rows)
    text = report(rows, fits, load(UNFITTED), arguments.margin)
    print(text)
    write_model(fits, arguments.margin)
    write_atomically(REPORT, text)


if __name__ == "__main__":
    main()
