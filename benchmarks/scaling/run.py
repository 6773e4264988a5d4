"""Compiles training steps one after the other and keeps what comes of each."""

import sys
from collections.abc import Iterable
from typing import NamedTuple

from rich.console import Console

from benchmarks.compiling import started
from jaxconv._bench.results import Results, Row
from jaxconv._bench.results import identity as key

from .layouts import Layout
from .networks import DTYPE, NETWORKS

CONTESTANTS = ("lax", "accelerate", "spatial")
COMMAND = [sys.executable, "-m", "benchmarks.scaling.worker"]
PATIENCE = 3600.0  # seconds after which the compiler is taken to hang


class Program(NamedTuple):
    """A training step of a network, by name, on a slice."""

    network: str
    slice: str
    layout: Layout

    def row(self) -> Row:
        """What its row of the results begins with."""
        return {
            "suite": "scaling",
            "batch": self.layout.data,
            "name": self.network,
            "layer": {"slice": self.slice, **self.layout._asdict()},
            "direction": "training step",
            "dtype": DTYPE,
            "layout": "channels last",
        }


def program(row: Row) -> Program:
    """The way back from `Program.row`."""
    where = row["layer"]
    return Program(row["name"], where["slice"], Layout(where["data"], tuple(where["space"])))


def in_order(rows: Iterable[Row]) -> list[Row]:
    """By network, and from small slices to large ones."""
    return sorted(rows, key=lambda row: ([*NETWORKS].index(row["name"]), program(row).layout.chips, row["batch"]))


def compile_all(
    programs: Iterable[Program], contestants: list[str], effort: float, results: Results, console: Console
) -> None:
    """Compile what `results` does not have yet, and put it there, program by program.

    Raises:
      ResultsError: if there is no compiler, which says nothing of any program.
    """
    worker = started(COMMAND, PATIENCE)
    try:
        for each in programs:
            for contestant in contestants:
                row = results.rows.get(key(each.row())) or {**each.row(), "backends": {}}
                if contestant not in row["backends"]:
                    console.print(f"{each.network}, {each.slice} as {each.layout}, {contestant}", highlight=False)
                    question = {"network": each.network, "slice": each.slice, **each.layout._asdict(), "effort": effort}
                    entry = worker.ask(PATIENCE, do="compile", contestant=contestant, **question)
                    worker.stop()  # what it holds, gigabytes, with it
                    results.put({**row, "backends": {**row["backends"], contestant: entry}})
    finally:
        worker.stop()
