"""Measure which algorithm is fastest for each convolution of a program, here."""

import math
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax

from ._algorithms import ALGORITHMS
from ._collect import convolutions
from ._conv import conv_general_dilated
from ._geometry import Geometry
from ._machine import conditions, platform
from ._measure import clocked
from ._parameters import to_params
from ._plan import Plan, Tuned
from ._sampled import random_operands, sampled_error
from ._select import predictions, refusal, xla_lacks
from ._settings import Settings, changed

ROUNDS = 3  # over the candidates, which take turns
ROUND_SECONDS = 0.03  # for each candidate in each round
MOST_CALLS = 50  # in a round
HOPELESS = 20.0  # times the fastest prediction: not tried
SLOW = 4.0  # times the fastest first call: timed no further


def autotune(
    f: Callable,
    *args: Any,
    seconds: float = 120.0,
    accuracy: str | None = None,
    max_workspace_bytes: int | None = None,
    progress: bool | None = None,
    **kwargs: Any,
) -> Plan:
    """Time every algorithm that can do them on each distinct convolution in `f(*args, **kwargs)`, on this device.

    `f` itself is traced, not run: random data of the same shapes and types stand in for its own. Give it the whole
    training step, so that the backward convolutions are in it.

    Args:
      f: any function, with lax's convolutions or jaxconv's in it.
      *args, **kwargs: its arguments; `jax.ShapeDtypeStruct`s do for arrays.
      seconds: to spend in all, first on the convolutions that take most of the program's time, as far as that can be
        predicted. Those that there is no time for are left to the cost model, with a warning.
      accuracy, max_workspace_bytes: as in `policy`, for the candidates; the plan keeps them.
      progress: whether to show a bar; None shows one on a terminal, if `rich` is installed.

    Returns:
      The plan. After an interruption (Ctrl-C) that of the convolutions measured so far, with a warning. What of an
      algorithm fails on the device, for want of memory mostly, is not in it, with a warning as well.

    Raises:
      ValueError: for an unknown accuracy or a negative `max_workspace_bytes`.
      ImportError: for `progress=True` without `rich`.

    >>> import jax, jax.numpy as jnp, jaxconv
    >>> def f(image, kernel):
    ...     return jax.lax.conv(image, kernel, (1, 1), "SAME")
    >>> plan = jaxconv.autotune(f, jnp.ones((1, 3, 8, 8)), jnp.ones((4, 3, 3, 3)), seconds=5, progress=False)
    >>> [tuned] = plan.convolutions.values()
    >>> tuned.algorithm in tuned.seconds
    True
    """
    settings = changed(accuracy, max_workspace_bytes)._replace(plan=None)
    found = Counter(each.geometry for each in convolutions(f, *args, **kwargs))
    tuning = tune_all(found, settings, seconds, progress)
    if tuning.left:
        warnings.warn(f"autotune: {tuning.left}", stacklevel=2)
    return tuning.plan


class Tuning(NamedTuple):
    """What came of `tune_all`.

    Attributes:
      plan: what was measured.
      left: in words, why some were not and how many, or "".
      interrupted: whether that was Ctrl-C.
    """

    plan: Plan
    left: str
    interrupted: bool


def tune_all(found: Counter[Geometry], settings: Settings, seconds: float, progress: bool | None) -> Tuning:
    """`tune` what is found so often, `in_order`, until the seconds are over, under a bar as `autotune` has it."""
    todo = in_order(found, settings)
    measured: dict[Geometry, Tuned] = {}
    deadline = time.monotonic() + seconds
    why, interrupted = "", False
    try:
        with _bar(len(todo), progress) as advance:
            for geometry in todo:
                if time.monotonic() > deadline:
                    why = f"{seconds:g} seconds are over"
                    break
                measured[geometry] = tune(geometry, settings)
                advance()
    except KeyboardInterrupt:
        why, interrupted = "interrupted", True
    if why:
        why += f", {len(todo) - len(measured)} of {len(todo)} convolutions are left to the cost model"
    plan = Plan(conditions(), measured, settings.accuracy, settings.bound(platform()))
    return Tuning(plan, why, interrupted)


def in_order(found: Counter[Geometry], settings: Settings) -> list[Geometry]:
    """Those that can be measured: without a prediction first, then what is predicted to take longest in all its
    occurrences."""

    def share(geometry: Geometry) -> float:
        return found[geometry] * min(predictions(geometry, settings, platform()).values(), default=math.inf)

    return sorted((each for each in found if not each.is_symbolic and not each.is_empty), key=share, reverse=True)


def tune(geometry: Geometry, settings: Settings) -> Tuned:
    """One convolution, by all algorithms that may be taken and are not hopeless."""
    medians, errors = measured(geometry, candidates(geometry, settings), settings)
    return Tuned(min(medians, key=medians.__getitem__), medians, errors)


def measured(geometry: Geometry, names: list[str], settings: Settings) -> tuple[dict[str, float], dict[str, float]]:
    """Algorithm -> median of its seconds, those that are not slow in turns, and -> its error.

    What fails on the device, for want of memory mostly, is left out with a warning; its error is raised if all do.
    """
    lhs, rhs = random_operands(geometry)
    on_device = jax.device_put((lhs, rhs))
    calls, errors, first = {}, {}, {}
    for name in names:
        arguments = {**to_params(geometry), "algorithm": name, "max_workspace_bytes": settings.bound(platform())}
        try:
            compiled = jax.jit(partial(conv_general_dilated, **arguments)).lower(*on_device).compile()
            out = jax.block_until_ready(compiled(*on_device))
        except jax.errors.JaxRuntimeError as error:
            if name == names[-1] and not first:
                raise
            warnings.warn(f"{name} is not measured for {geometry.describe()}: {str(error):.200}", stacklevel=2)
            continue
        errors[name] = sampled_error(out, lhs, rhs, geometry)
        calls[name] = lambda compiled=compiled: jax.block_until_ready(compiled(*on_device))
        first[name] = clocked(calls[name])
    times = {name: [seconds] for name, seconds in first.items()}
    fast = [name for name, seconds in first.items() if seconds <= SLOW * min(first.values())]
    for turn in range(ROUNDS):
        for name in fast[turn % len(fast) :] + fast[: turn % len(fast)]:
            taken = [clocked(calls[name])]
            while sum(taken) < ROUND_SECONDS and len(taken) < MOST_CALLS:
                taken.append(clocked(calls[name]))
            times[name] += taken
    return {name: statistics.median(taken) for name, taken in times.items()}, errors


def candidates(geometry: Geometry, settings: Settings) -> list[str]:
    """Lax's own first, where there is one, then the others, but for those that are predicted to take many times as long
    as the best."""
    here = platform()
    predicted = predictions(geometry, settings, here)
    least = min(predicted.values(), default=0.0)
    others = [name for name in ALGORITHMS if name not in ("xla", "naive")]
    able = [name for name in others if not refusal(name, geometry, settings, here)]
    first = [] if xla_lacks(geometry, here) else ["xla"]
    return [*first, *(name for name in able if predicted.get(name, 0.0) <= HOPELESS * least or not least)]


@contextmanager
def _bar(total: int, wanted: bool | None) -> Iterator[Callable[[], None]]:
    """A progress bar, or nothing; the function that moves it."""
    try:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        bar = Progress(console=console, disable=wanted is False or not (wanted or console.is_terminal))
    except ImportError:
        if wanted:
            raise ImportError("the progress bar needs rich: pip install 'jaxconv[tools]'") from None
        yield lambda: None
        return
    with bar:
        task = bar.add_task("autotune", total=total)
        yield lambda: bar.advance(task)
