"""Measure which algorithm is fastest for each convolution of a program, here."""

import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any, NamedTuple

from ._collect import convolutions
from ._geometry import Geometry
from ._machine import conditions, platform
from ._plan import Plan
from ._plan_file import Tuned
from ._select import predictions
from ._settings import Settings, changed
from ._trials import TimeOverError, candidates, measured


def autotune(
    f: Callable,
    /,
    *args: Any,
    seconds: float = 120.0,
    accuracy: str | None = None,
    max_workspace_bytes: int | None = None,
    progress: bool | None = None,
    **kwargs: Any,
) -> Plan:
    """Time the algorithms that can do it on each distinct convolution in `f(*args, **kwargs)`, on this device.

    All but those that are predicted to take 20 times as long as the best.

    `f` itself is traced, not run: random data of the same shapes and types stand in for its own. Give it the whole
    training step, so that the backward convolutions are in it. Convolutions that ask for an algorithm by name, which
    no plan changes, are not measured.

    Args:
      f: any function, with lax's convolutions or jaxconv's in it.
      *args, **kwargs: its arguments; `jax.ShapeDtypeStruct`s do for arrays.
      seconds: to spend in all, first on the convolutions that take most of the program's time, as far as that can be
        predicted. Those that there is no time for, with all algorithms, are left to the cost model, with a warning.
      accuracy, max_workspace_bytes: as in `policy`, for the candidates; the plan keeps what is not the default.
      progress: whether to show a bar; None shows one on a terminal, if `rich` is installed.

    Returns:
      The plan. After an interruption (Ctrl-C) that of the convolutions measured so far, with a warning. What fails on
      the device, for want of memory mostly, is not in it, with a warning as well, nor what gives results there that are
      further off than it promises, and than lax's.

    Raises:
      ValueError: for an unknown accuracy, a negative `max_workspace_bytes`, `seconds` that are none.
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
    if not isinstance(seconds, Real) or not seconds >= 0:
        raise ValueError(f"autotune seconds must be a number of 0 or more, got {seconds!r}")
    found: Counter[Geometry] = Counter()
    for each in convolutions(f, *args, **kwargs):
        if not (each.request and each.request.algorithm):
            found[each.geometry] += max(each.times, 1)
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


def tune_all(
    found: Counter[Geometry],
    settings: Settings,
    seconds: float,
    progress: bool | None,
    keep: Callable[[Plan], Any] = lambda plan: None,
) -> Tuning:
    """`tune` what is found so often, `in_order`, until the seconds are over, under a bar as `autotune` has it; `keep`
    gets a plan of each as soon as it is measured."""
    todo = in_order(found, settings)
    tuned: dict[Geometry, Tuned] = {}
    deadline = time.monotonic() + seconds
    why, interrupted = "", False
    try:
        with _bar(len(todo), progress) as advance:
            for geometry in todo:
                try:
                    if time.monotonic() > deadline:
                        raise TimeOverError
                    tuned[geometry] = tune(geometry, settings, deadline)
                except TimeOverError:
                    why = f"{seconds:g} seconds are over"
                    break
                except Exception as error:  # whatever it is, what was measured before is kept
                    words = f"{geometry.describe()} is left to the cost model, it cannot be measured"
                    warnings.warn(f"autotune: {words}: {str(error) or type(error).__name__:.500}", stacklevel=3)
                else:
                    keep(plan_of({geometry: tuned[geometry]}, settings))
                advance()
    except KeyboardInterrupt:
        why, interrupted = "interrupted", True
    if why:
        why += f", {len(todo) - len(tuned)} of {len(todo)} convolutions are left to the cost model"
    return Tuning(plan_of(tuned, settings), why, interrupted)


def plan_of(tuned: dict[Geometry, Tuned], settings: Settings) -> Plan:
    """Of this device; it says of the settings what is not the default."""
    accuracy = settings.accuracy if settings.accuracy != Settings().accuracy else None
    return Plan(conditions(), tuned, accuracy, settings.max_workspace_bytes)


def in_order(found: Counter[Geometry], settings: Settings) -> list[Geometry]:
    """Those that can be measured: without a prediction first, by what they multiply, then what is predicted to take
    longest in all its occurrences."""

    def share(geometry: Geometry) -> tuple[float, int]:
        least = min(predictions(geometry, settings, platform()).values(), default=math.inf)
        return found[geometry] * least, found[geometry] * geometry.macs

    return sorted((each for each in found if not each.is_symbolic and not each.is_empty), key=share, reverse=True)


def tune(geometry: Geometry, settings: Settings, until: float = math.inf) -> Tuned:
    """One convolution, by all algorithms that may be taken and are not hopeless. TimeOverError if there is no time."""
    medians, errors = measured(geometry, candidates(geometry, settings), settings, until)
    return Tuned(min(medians, key=medians.__getitem__), medians, errors)


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
