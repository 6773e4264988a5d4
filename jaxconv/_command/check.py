"""`jaxconv check MODULE:FUNCTION`: put a convolution of one's own to the test, as `jaxconv.testing.check` does."""

import argparse
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .._machine import having
from .command import Command, UsageError, add_json, amount, positive, print_json, quantity, require, terminal
from .keys import ARRANGEMENTS, count, layout_numbers

SWITCHES = ("groups", "empty", "strides", "lhs_dilation", "rhs_dilation", "preferred_element_type")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The function, and what `problems` and `check` of `jaxconv.testing` take."""
    parser.add_argument("function", metavar="MODULE:FUNCTION", help="called as lax.conv_general_dilated is")
    parser.add_argument("--examples", type=positive, default=50, metavar="N", help="problems to try (%(default)s)")
    checks = "some of value, jit, vmap, jvp, gradient, second-derivative, with commas between (all)"
    parser.add_argument("--checks", type=names, metavar="NAME,...", help=checks)
    times = "times the error of a direct sum (%(default)g), which is one in float32 for results narrower than that"
    parser.add_argument("--factor", type=amount, default=1.0, help=times)
    by_norm = "judge errors by the largest value there could be, as of transforms"
    parser.add_argument("--normwise", action="store_true", help=by_norm)
    parser.add_argument("--ndim", type=int, choices=range(4), help="only problems of so many spatial axes")
    parser.add_argument("--dtype", action="append", metavar="TYPE", help="of this type; several times (float32)")
    layout = "in this layout; several times: NHWC, NCHW or three with commas between (any order of the axes)"
    parser.add_argument("--layout", action="append", metavar="LAYOUT", help=layout)
    parser.add_argument("--taps", type=counts, metavar="N,...", help="with so many taps along each axis (1 to 4)")
    parser.add_argument("--max-macs", type=positive, default=20_000, metavar="N", help="multiply-adds (%(default)s)")
    for name in SWITCHES:
        option = f"--no-{name.replace('_', '-')}"
        parser.add_argument(option, dest=name, action="store_false", help=f"without {name.replace('_', ' ')}")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Try it. Returns 0 if it is right, 1 if it is not."""
    from ..testing import CHECKS

    require(rich=not options.json)
    checks = options.checks or CHECKS
    if unknown := [name for name in checks if name not in CHECKS]:
        known = ", ".join(name.replace(" ", "-") for name in CHECKS)
        raise UsageError(f"--checks: there is no {unknown[0]!r}; there are {known}")
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        function = imported(options.function)
        with having(options.dtype or ()):
            tried, wrong, call = _judged(function, checks, options)
    finally:
        sys.path.remove(here)
    if options.json:
        content = {"function": options.function, "right": not wrong, "problems": tried, "checks": list(checks)}
        print_json({**content, "wrong": wrong or None, "call": call or None})
        return int(bool(wrong))
    console = terminal()
    if wrong:
        console.print(f"{options.function} is wrong", style="bold red", markup=False, highlight=False)
        print(f"{wrong}\n{call}")
    else:
        words = f"{options.function} is right: {quantity(tried, 'problem')}, {', '.join(checks)}"
        console.print(words, style="green", markup=False, highlight=False)
    return int(bool(wrong))


def _judged(function: Callable, checks: Sequence[str], options: argparse.Namespace) -> tuple[int, str, str]:
    """How many problems were tried; what is wrong with the smallest that is found, and the call, or "" and ""."""
    from ..testing import check

    tried, judge = 0, {"factor": options.factor, "normwise": options.normwise}
    with _status(options.function) as change:

        def counted(problem):
            nonlocal tried
            tried += 1
            change(f"{options.function}, problem {tried}")
            return problem

        some = _problems(options).map(counted)
        try:
            check(function, some, checks=checks, max_examples=options.examples, **judge)
        except Exception as error:
            raised = next((note for note in getattr(error, "__notes__", ()) if note.startswith("lhs, rhs = ")), "")
            if raised:
                return tried, f"it raised {_told(error, function)}", raised
            if not isinstance(error, AssertionError):
                raise
            wrong, start, rest = str(error).partition("\nlhs, rhs = ")
            return tried, wrong, start[1:] + rest
    return tried, "", ""


@contextmanager
def _status(words: str) -> Iterator[Callable[[str], None]]:
    """A line on a terminal's stderr and the function that changes it, or nothing where there is no rich."""
    try:
        from rich.markup import escape
    except ImportError:
        yield lambda words: None
        return
    with terminal(stderr=True).status(escape(words)) as status:
        yield lambda words: status.update(escape(words))


def imported(name: str) -> Callable:
    """What `MODULE:FUNCTION` names. UsageError if that is nothing that can be called."""
    module, _, path = name.partition(":")
    if not module or not path or module.endswith(".py"):
        raise UsageError(f"{name!r} must be a module and a function of it, as in package.module:function")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise UsageError(f"there is no module {error.name!r}, neither here nor installed") from None
        raise UsageError(f"{module} cannot be imported: {_told(error)}") from None
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise UsageError(f"{name!r}: {error}") from None
    if not callable(found):
        raise UsageError(f"{name!r} cannot be called, it is {type(found).__name__}")
    return found


def _told(error: Exception, function: Callable | None = None) -> str:
    """The error in words, and the last line it passed in the function's file, or in what is imported."""
    frames = traceback.extract_tb(error.__traceback__)
    if function:
        file = getattr(getattr(inspect.unwrap(function), "__code__", None), "co_filename", None)
        frames = [frame for frame in frames if frame.filename == file]
    else:
        frames = [frame for frame in frames if frame.filename != __file__ and "importlib" not in frame.filename]
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def _problems(options: argparse.Namespace) -> Any:
    from ..testing import DTYPES, problems

    for name in options.dtype or ():
        if name not in DTYPES:
            raise UsageError(f"--dtype: {name!r} is not among those that are tried, {', '.join(DTYPES)}")
    layouts = tuple(_layout(text, options.ndim) for text in options.layout or ())
    ranks = {len(each[0]) - 2 for each in layouts} or {options.ndim}
    if len(ranks) > 1:
        raise UsageError("--layout: all must be of as many axes")
    return problems(
        ndim=ranks.pop(),
        dtypes=tuple(options.dtype or ("float32",)),
        max_macs=options.max_macs,
        layouts=layouts or None,
        taps=options.taps,
        **{name: getattr(options, name) for name in SWITCHES},
    )


def _layout(text: str, ndim: int | None) -> tuple[str, str, str]:
    """For as many axes as are asked for, or as its letters have."""
    try:
        return layout_numbers(text, len(text.split(",")[0]) - 2 if ndim is None else ndim)
    except ValueError:
        raise UsageError(f"--layout: {text!r} must be {ARRANGEMENTS}") from None


def names(text: str) -> list[str]:
    """Of checks, with commas between, and dashes for the spaces in them."""
    return text.replace("-", " ").split(",")


def counts(text: str) -> tuple[int, ...]:
    """Positive integers with commas between."""
    try:
        return tuple(map(count, text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be positive integers with commas between, got {text!r}") from None


COMMAND = Command("put a convolution of your own to the test", ("hypothesis",), add_options, run)
