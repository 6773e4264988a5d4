"""What would run, why, and at what cost."""

from collections.abc import Callable
from math import prod
from typing import Any

import jax.numpy as jnp

from ._accuracy import ERROR_FACTOR
from ._algorithms import ALGORITHMS
from ._collect import convolutions
from ._explanation import Explained, Explanation, milliseconds
from ._geometry import Geometry
from ._install import request_of_lax
from ._machine import platform
from ._select import choose, predictions, refusal
from ._settings import Request


def explain(
    f: Callable, /, *args: Any, accuracy: str | None = None, max_workspace_bytes: int | None = None, **kwargs: Any
) -> Explanation:
    """Which algorithm every convolution in `f(*args, **kwargs)` would take under `accelerate`, and why.

    `f` is traced, not run. What its convolutions were asked to go by holds; lax's own go by what is current here, and
    after `install` by what was said there.

    Args:
      f: any function, with lax's convolutions or jaxconv's in it.
      *args, **kwargs: its arguments; `jax.ShapeDtypeStruct`s do for arrays.
      accuracy, max_workspace_bytes: as in `policy`, for those of lax.

    Returns:
      The explanation: `print` it, `plot` it, or read its `rows`.

    >>> import jax, jax.numpy as jnp, jaxconv
    >>> def f(image, kernel):
    ...     return jax.lax.conv(image, kernel, (1, 1), "SAME")
    >>> explanation = jaxconv.explain(f, jnp.ones((1, 3, 8, 8)), jnp.ones((4, 3, 3, 3)))
    >>> [row.geometry.describe() for row in explanation.rows]
    ['1x8x8 3->4 3x3']
    """
    request = request_of_lax(accuracy, max_workspace_bytes)
    rows = []
    for found in convolutions(f, *args, **kwargs):
        rows.append(explained(found.geometry, found.role, found.times, found.request or request))
    return Explanation(tuple(rows))


def explained(geometry: Geometry, role: str, times: int, request: Request) -> Explained:
    """The row of one convolution."""
    g, settings = geometry, request.settings
    here = platform()
    choice = choose(request, g, here)
    cost = predictions(g, settings, here)
    tuned = settings.plan.convolutions.get(g) if settings.plan else None
    measured = dict(tuned.seconds) if tuned else {}
    known = {**cost, **measured}
    reasons = {name: refusal(name, g, settings, here) for name in ALGORITHMS if name != choice.algorithm}
    able = [name for name, reason in reasons.items() if not reason and name in known]
    others = {name: known[name] for name in sorted(able, key=known.__getitem__)}

    def compared(name: str) -> str:
        kind = "measured" if name in measured else "predicted"
        return f"{milliseconds(others[name])} ms {kind}" if name in others else "not measured"

    rejected = {name: reason or compared(name) for name, reason in reasons.items()}
    size = sizes(g, choice.algorithm, settings.bound(here))
    factor = ERROR_FACTOR[choice.algorithm]
    return Explained(g, role, times, *choice, cost, measured, rejected, others, *size, factor)


def sizes(geometry: Geometry, algorithm: str, bound: int) -> tuple[int | None, int | None, int | None]:
    """Flops, bytes of operands and result, and of the algorithm's workspace; None for each where shapes are symbols."""
    g = geometry
    if g.is_symbolic:
        return None, None, None
    shapes = ((g.lhs_layout, g.dtype), (g.rhs_layout, g.dtype), (g.out_layout, g.out_dtype))
    moved = sum(prod(layout.shape) * jnp.dtype(dtype).itemsize for layout, dtype in shapes)
    return 2 * g.macs, moved, 0 if g.is_empty else ALGORITHMS[algorithm].workspace(g, bound)
