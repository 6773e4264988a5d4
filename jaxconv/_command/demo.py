"""`jaxconv demo`: a photograph, a race and a small network."""

import argparse
from pathlib import Path

from .command import Command, terminal


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where the picture goes."""
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for the picture (%(default)s)")


def run(options: argparse.Namespace) -> int:
    """Show all parts. Returns 0 if every check held, 1 otherwise."""
    console = terminal()
    console.print("A photograph, a race and a small network: about a minute.")
    from .._demo.show import show  # which takes seconds: it needs all of them

    return 0 if show(console, options.out) else 1


COMMAND = Command(
    "a photograph, a race and a small network: see that it works", ("matplotlib", "rich", "sklearn"), add_options, run
)
