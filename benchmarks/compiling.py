"""What the commands that only compile have in common: options, conditions, the compiler's process, tables."""

import argparse
import importlib.util
import platform
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console

from jaxconv._bench.environment import commit, source
from jaxconv._bench.process import Worker
from jaxconv._bench.report import show, write_markdown
from jaxconv._bench.results import Results, ResultsError, load
from jaxconv._command.command import terminal
from jaxconv._machine import version


def add_options(parser: argparse.ArgumentParser, out: Path) -> None:
    """Where results and tables go; `out` is the file of results unless another one is named."""
    parser.add_argument("--out", type=Path, default=out, help=f"results (benchmarks/{out.name})")
    parser.add_argument("--fresh", action="store_true", help="start the file of results anew")
    parser.add_argument("--report-only", action="store_true", help="compile nothing")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")


def run(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    compile_missing: Callable[[Console], Results],
    report: ModuleType,
) -> int:
    """Compile, unless only the report is wanted, and report. Returns the exit code of the command.

    Args:
      parser, options: the command's, with the options above.
      compile_missing: compiles what the file of results does not have, and returns all results.
      report: has `sheets` and `failed`, of rows of results, TITLE and EXPLANATION.
    """
    console = terminal()
    if not options.report_only and importlib.util.find_spec("libtpu") is None:
        parser.exit(2, f"{parser.prog}: it needs the compiler, libtpu: pip install 'jaxconv[tpu]'\n")
    try:
        results = load(options.out) if options.report_only else compile_missing(console)
    except ResultsError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        console.print(f"Interrupted. {options.out} has what was compiled: the same command goes on from there.")
        return 130
    rows = list(results.rows.values())
    sheets = report.sheets(rows)
    show(console, sheets, report.EXPLANATION)
    if options.markdown:
        write_markdown(options.markdown, results.header, sheets, report.TITLE, report.EXPLANATION, "Compiled")
    return int(bool(report.failed(rows)))


def environment() -> dict[str, Any]:
    """What every program depends on."""
    versions = {name: version(name) for name in ("jax", "jaxlib", "libtpu")}
    return {"commit": commit(), "source": source(), **versions, "python": platform.python_version()}


def started(command: list[str], patience: float) -> Worker:
    """A process of the compiler that answers.

    Raises:
      ResultsError: if there is no compiler, which says nothing of any program.
    """
    worker = Worker(command)
    if "error" in (answer := worker.ask(patience, do="start")):
        worker.stop()
        raise ResultsError(f"the compiler does not start: {answer['error']}")
    return worker
