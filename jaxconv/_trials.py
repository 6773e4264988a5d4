"""One convolution by each of the algorithms that it might be computed by, on this device: how long, and how exactly."""

import math
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ._accuracy import ERROR_FACTOR, NORMWISE, error_bound
from ._algorithms import ALGORITHMS
from ._conv import conv_general_dilated
from ._geometry import Geometry
from ._machine import having, platform
from ._measure import clocked
from ._parameters import to_params
from ._sampled import Errors, errors_of, random_operands, sampled
from ._select import predictions, refusal
from ._settings import Settings

ROUNDS = 3  # over the candidates, which take turns
ROUND_SECONDS = 0.03  # for each candidate in each round
MOST_CALLS = 50  # in a round
HOPELESS = 20.0  # times the fastest prediction: not tried
FIRST_CALLS = 3
SLOW = 4.0  # times the fastest of these: timed no further
AS_LAX = 4.0  # times the error of lax's own convolution, which may be far from exact on a GPU


class TimeOverError(Exception):
    """There was no time to measure what was to be."""


def candidates(geometry: Geometry, settings: Settings) -> list[str]:
    """Lax's own first, where there is one, then the others as they are predicted, fastest first, but for those that are
    predicted to take many times as long as the best."""
    here = platform()
    predicted = predictions(geometry, settings, here)
    most = HOPELESS * min(predicted.values(), default=math.inf)
    able = [name for name in ALGORITHMS if name != "naive" and not refusal(name, geometry, settings, here)]
    tried = [name for name in able if name == "xla" or predicted.get(name, 0.0) <= most]
    return sorted(tried, key=lambda name: (name != "xla", predicted.get(name, math.inf)))


def measured(
    geometry: Geometry, names: list[str], settings: Settings, until: float = math.inf
) -> tuple[dict[str, float], dict[str, float]]:
    """Algorithm -> median of its seconds, those that are not slow in turns, and -> its error, if that is a number.

    What fails on the device, for want of memory mostly, or is further off than it may be, is left out with a warning;
    the last failure is raised if all do. TimeOverError if `time.monotonic()` comes to `until` before all were tried:
    the best of some may be far from the best.
    """
    if not names:
        raise ValueError("there is no algorithm that may be taken")
    # Programs are compiled and run, whatever is traced around this, and with or without `jax.disable_jit`.
    with jax.ensure_compile_time_eval(), jax.disable_jit(False), having((geometry.dtype, geometry.out_dtype)):
        lhs, rhs = random_operands(geometry)
        on_device, sample = jax.device_put((lhs, rhs)), sampled(lhs, rhs, geometry)
        calls, errors, first, failures = {}, {}, {}, []
        for name in names:
            if time.monotonic() > until:
                raise TimeOverError
            arguments = {**to_params(geometry), "algorithm": name, "max_workspace_bytes": settings.bound(platform())}
            try:
                compiled = jax.jit(partial(conv_general_dilated, **arguments)).lower(*on_device).compile()
                out = jax.block_until_ready(compiled(*on_device))
                errors[name] = errors_of(out, sample, geometry)
                if name != "xla" and not agrees(name, errors[name], errors.get("xla"), geometry):
                    raise ArithmeticError(f"its results are not as near as they should be: {errors.pop(name)}")
                calls[name] = lambda compiled=compiled: jax.block_until_ready(compiled(*on_device))
                first[name] = least(calls[name])
            except Exception as error:
                failures.append(error)
                warnings.warn(f"{name} is not measured for {geometry.describe()}: {str(error):.200}", stacklevel=2)
        if not first:
            raise failures[-1]
        found = {name: each.componentwise for name, each in errors.items() if math.isfinite(each.componentwise)}
        return in_turns(calls, first, until), found


def least(call: Callable[[], Any]) -> float:
    """Seconds of the fastest of some calls, or of one that takes long: whether to go on is not to hang on other work
    that the machine does for an instant."""
    taken = [clocked(call)]
    while sum(taken) < ROUND_SECONDS and len(taken) < FIRST_CALLS:
        taken.append(clocked(call))
    return min(taken)


def agrees(name: str, errors: Errors, of_lax: Errors | None, geometry: Geometry) -> bool:
    """Whether the algorithm's results are as near to the exact ones as it promises, or about as near as lax's."""
    kind = "normwise" if name in NORMWISE else "componentwise"
    own, lax = getattr(errors, kind), getattr(of_lax, kind, 0.0)
    terms = math.prod(geometry.kernel) * geometry.in_channels
    promised = error_bound(geometry.out_dtype, terms, ERROR_FACTOR[name])
    if promised:
        promised /= float(jnp.finfo(geometry.out_dtype).eps)
    return own <= max(promised, AS_LAX * lax) or not math.isfinite(lax)


def in_turns(calls: dict[str, Callable[[], Any]], first: dict[str, float], until: float) -> dict[str, float]:
    """Medians of the seconds of each call, of which those are known that the first of each took."""
    times = {name: [seconds] for name, seconds in first.items()}
    fast = [name for name, seconds in first.items() if seconds <= SLOW * min(first.values())]
    for turn in range(ROUNDS):
        if time.monotonic() > until:
            break
        for name in fast[turn % len(fast) :] + fast[: turn % len(fast)]:
            taken = [clocked(calls[name])]
            while sum(taken) < ROUND_SECONDS and len(taken) < MOST_CALLS:
                taken.append(clocked(calls[name]))
            times[name] += taken
    return {name: statistics.median(taken) for name, taken in times.items()}
