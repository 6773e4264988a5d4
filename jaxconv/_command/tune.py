"""`jaxconv tune PROBLEM ...`: measure here which algorithm is fastest for convolutions, and keep that as a plan."""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from .._autotune import plan_of, tune_all
from .._bench.sheets import milliseconds
from .._collect import convolutions
from .._default_plan import default_plan_path, merge_into
from .._geometry import Geometry
from .._machine import having
from .._plan_file import Tuned
from .._settings import changed
from .command import Command, UsageError, add_json, add_policy, amount, print_json, quantity, require, terminal
from .language import written
from .problem import Problem, add_problems, problems, types

COLUMNS = ("direction", "convolution", "algorithm", "ms", "xla ms", "times as fast")
Row = tuple[Problem, Geometry, Tuned]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Problems, what to measure them for, and where to keep that."""
    add_problems(parser)
    add_policy(parser)
    parser.add_argument("--seconds", type=amount, default=120.0, help="to spend in all (%(default)g)")
    file = parser.add_mutually_exclusive_group()
    file.add_argument("--out", type=Path, default=Path("plan.json"), help="file to add to (%(default)s)")
    file.add_argument("--default", action="store_true", help="add to the plan that load_default_plan() loads")
    parser.add_argument("--again", action="store_true", help="measure what the file has already as well")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Measure what the file does not have yet, add it, report. Returns 0, or 130 if interrupted: what was measured is
    in the file then, and the same command goes on from there."""
    require(platformdirs=options.default, rich=not options.json)
    asked = problems(options)
    path = default_plan_path() if options.default else options.out
    settings = changed(options.accuracy, options.max_workspace_bytes)._replace(plan=None)
    nothing = plan_of({}, settings)
    try:
        kept = merge_into(path, nothing)  # before minutes of measuring: it can be written, and holds here
    except (ValueError, OSError) as error:
        advice = "" if options.default else ", choose another --out"
        raise UsageError(f"{path} cannot be added to{advice}: {error}") from None
    with having(types(asked)):
        named = _by_geometry(asked)
        todo = {each: named[each].occurs for each in named if options.again or each not in kept.convolutions}
        try:
            tuning = tune_all(Counter(todo), settings, options.seconds, None, keep=lambda plan: merge_into(path, plan))
            plan = merge_into(path, tuning.plan)  # what an interruption kept from being kept as well
        except OSError as error:
            raise UsageError(f"{path} can be added to no longer: {error}; it has what was measured before") from None
    for each in (each for each in named if each.is_empty):
        print(f"jaxconv tune: {written(each)} is empty, there is nothing to measure", file=sys.stderr)
    if tuning.left:
        print(f"jaxconv tune: {tuning.left}; the same command goes on from there", file=sys.stderr)
    rows = [(problem, each, plan.convolutions[each]) for each, problem in named.items() if each in plan.convolutions]
    measured, before = len(tuning.plan.convolutions), len(kept.convolutions)
    if options.json:
        print_json({"plan": str(path), "measured": measured, "before": before, "convolutions": [*map(_as_json, rows)]})
    else:
        if rows:
            terminal().print(_table(rows))
        every = quantity(len(plan.convolutions), "convolution")
        print(f"{path}: {measured} measured now, {before} there before, {every} in all")
    return 130 if tuning.interrupted else 0


def _by_geometry(asked: list[Problem]) -> dict[Geometry, Problem]:
    """What is to be measured, each once, and the first problem that has it."""
    named: dict[Geometry, Problem] = {}
    for problem in asked:
        f, structs = problem.program()
        for found in convolutions(f, *structs):
            named.setdefault(found.geometry, problem)
    return named


def _as_json(row: Row) -> dict[str, Any]:
    problem, geometry, tuned = row
    return {**problem.to_json(), "problem": written(geometry), **tuned._asdict()}


def _table(rows: list[Row]) -> Any:
    """What was won over lax's own convolution, "xla"."""
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in COLUMNS[3:] else "left")
    for problem, geometry, tuned in rows:
        taken, lax = tuned.seconds.get(tuned.algorithm), tuned.seconds.get("xla")
        title = escape(problem.titled(problem.direction))
        table.add_row(title, geometry.describe(), tuned.algorithm, *_compared(taken, lax))
    timed = [
        (problem.occurs * tuned.seconds[tuned.algorithm], problem.occurs * tuned.seconds["xla"])
        for problem, _, tuned in rows
        if {tuned.algorithm, "xla"} <= set(tuned.seconds)
    ]
    table.add_section()
    table.add_row("all", "", "", *_compared(*map(sum, zip(*timed, strict=True))) if timed else ("-",) * 3)
    return table


def _compared(taken: float | None, lax: float | None) -> tuple[str, str, str]:
    ours, theirs = ("-" if seconds is None else milliseconds(seconds) for seconds in (taken, lax))
    return ours, theirs, f"{lax / taken:.2f}" if lax and taken else "-"


COMMAND = Command("measure which algorithm is fastest, and keep it as a plan", ("filelock",), add_options, run)
