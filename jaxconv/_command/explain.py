"""`jaxconv explain PROBLEM ...`: which algorithm would be taken for convolutions that there is no program of yet."""

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from .._default_plan import default_plan_path
from .._explain import explain
from .._explanation import Explained, Explanation
from .._files import write_atomically
from .._machine import having
from .._plan import Plan
from .._plan_file import PlanError
from .command import Command, UsageError, add_json, add_policy, print_json, require, terminal
from .language import written
from .problem import Problem, add_problems, problems, types

# What a program's explanation would call them. That can go by their layout alone, this by what was asked for.
ROLES = {"forward": "forward", "input-grad": "input gradient", "weight-grad": "weight gradient"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Problems, what to choose by, and what to show."""
    add_problems(parser)
    add_policy(parser)
    plan = parser.add_mutually_exclusive_group()
    plan.add_argument("--plan", type=Path, metavar="FILE", help="choose by this plan")
    plan.add_argument("--default", action="store_true", help="choose by the plan that `tune --default` keeps")
    parser.add_argument("--details", action="store_true", help="why every other algorithm is not the one")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the table there as a page")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Explain all in one table. Returns 0."""
    require(platformdirs=options.default, rich=not options.json)
    asked = problems(options)
    path = default_plan_path() if options.default else options.plan
    try:
        plan = Plan.load(path) if path else nullcontext()
    except FileNotFoundError as error:
        raise UsageError(f"no such plan: {error}") from None
    except (PlanError, OSError) as error:
        raise UsageError(f"this plan cannot be used: {error}") from None
    with having(types(asked)), plan:
        rows = [(problem, row) for problem in asked for row in _rows(problem, options)]
    explanation = Explanation(tuple(row._replace(role=problem.titled(row.role)) for problem, row in rows))
    if options.html:
        _write_page(options.html, explanation)
    if options.json:
        print_json([_as_json(problem, row) for problem, row in rows])
        return 0
    terminal().print(explanation)
    if options.details:
        print(explanation.details())
    return 0


def _rows(problem: Problem, options: argparse.Namespace) -> list[Explained]:
    f, structs = problem.program()
    found = explain(f, *structs, accuracy=options.accuracy, max_workspace_bytes=options.max_workspace_bytes)
    role = ROLES[problem.direction]
    return [row._replace(times=row.times * problem.occurs, role=role) for row in found.rows]


def _write_page(path: Path, explanation: Explanation) -> None:
    page = f'<!doctype html>\n<meta charset="utf-8">\n<title>jaxconv explain</title>\n{explanation._repr_html_()}\n'
    try:
        write_atomically(path, page)
    except OSError as error:
        raise UsageError(f"--html: {error}") from None


def _as_json(problem: Problem, row: Explained) -> dict[str, Any]:
    """With what to ask for to get this row alone."""
    return {**problem.to_json(), "problem": written(row.geometry), **row.to_json()}


COMMAND = Command("which algorithm a convolution and its gradients would take, and why", (), add_options, run)
