"""A convolution of a dilated input, taken apart into convolutions of the input itself (polyphase decomposition).

Along one axis, the output at m multiplies tap k with position m * stride + k * spread - low of the dilated input, which
exists only at multiples of `grow`. With common = gcd(stride, grow), outputs that are grow / common apart need the same
taps. So write m = period * t + r with period = grow / common. Of phase r, tap k takes part when

    r * stride + k * spread - low = 0   (mod grow)

which, if it can hold at all, holds for every (grow / gcd(spread, grow))-th tap from a first one on, and then multiplies
input element

    t * (stride / common) + (r * stride + k * spread - low) / grow.

That is a convolution with some of the taps, stride / common for stride, and an input that is not dilated. No zero is
multiplied. (Vaidyanathan, Multirate Systems and Filter Banks, 1993; as "sub-pixel" convolution: Shi et al. 2016,
arXiv 1609.05158.)
"""

from collections.abc import Callable, Sequence
from math import gcd, prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ._geometry import Geometry, ceil_div

MAX_PHASES = 256  # written out; of four times as many programs take most of a minute to compile


class Phase(NamedTuple):
    """One axis of one of the convolutions: output t multiplies tap `first + step * j` with input
    `stride * t + spread * j - low`, for j below `taps`. Without taps its outputs are zero."""

    first: int
    step: int
    taps: int
    stride: int
    spread: int
    low: int


def phases(taps: int, stride: int, spread: int, low: int, grow: int) -> list[Phase]:
    """The phases of one axis, in the order of their outputs: output m belongs to phase `m % len(phases)`.

    >>> for phase in phases(taps=3, stride=1, spread=1, low=1, grow=2):
    ...     print(phase)
    Phase(first=1, step=2, taps=1, stride=1, spread=1, low=0)
    Phase(first=0, step=2, taps=2, stride=1, spread=1, low=0)
    """
    common = gcd(stride, grow)
    step = grow // gcd(spread, grow)
    found = []
    for r in range(grow // common):
        first = next((k for k in range(min(step, taps)) if (r * stride + k * spread - low) % grow == 0), taps)
        found.append(
            Phase(
                first=first,
                step=step,
                taps=ceil_div(taps - first, step),
                stride=stride // common,
                spread=step * spread // grow,
                low=-((r * stride + first * spread - low) // grow) if first < taps else 0,
            )
        )
    return found


def axis_phases(geometry: Geometry) -> list[list[Phase]]:
    """The phases along each spatial axis."""
    g = geometry
    columns = zip(g.kernel, g.strides, g.rhs_dilation, g.padding, g.lhs_dilation, strict=True)
    return [phases(taps, stride, spread, low, grow) for taps, stride, spread, (low, _), grow in columns]


def too_many(geometry: Geometry) -> str:
    """Why the phases are not to be written out one by one, or ""."""
    count = prod(map(len, axis_phases(geometry)))
    return f"it would write out {count} phases, more than {MAX_PHASES}" * (count > MAX_PHASES)


def phase_outputs(axes: Sequence[Sequence[Phase]], counts: Sequence[int]) -> list[int]:
    """How many of `counts` outputs the longest phase has, along each axis."""
    return [ceil_div(count, len(phases)) for count, phases in zip(counts, axes, strict=True)]


def meets_input(phase: Phase, count: int, size: int) -> np.ndarray:
    """[taps]: whether it multiplies any of `size` inputs, not just padding, at one of the first `count` outputs."""
    at = np.arange(phase.taps) * phase.spread - phase.low  # of output 0
    output = np.maximum(0, -(at // phase.stride))  # the first that is not in front of the input
    return (output < count) & (at + output * phase.stride < size)


def interleave(
    axes: Sequence[Sequence[Phase]],
    convolve: Callable[[tuple[Phase, ...]], jax.Array],
    space: Sequence[int],
    counts: Sequence[int],
) -> jax.Array:
    """The outputs of all phases put in order.

    Args:
      axes: the phases along each spatial axis.
      convolve: from one phase for each axis to its outputs; of each phase as many as the longest has.
      space: where the spatial axes are in those.
      counts: outputs along each spatial axis.
    """

    def along(chosen: tuple[Phase, ...]) -> jax.Array:
        axis = len(chosen)
        if axis == len(axes):
            return convolve(chosen)
        parts = [along((*chosen, phase)) for phase in axes[axis]]
        if len(parts) == 1:
            return parts[0]
        at = space[axis]
        shape = list(parts[0].shape)
        shape[at] *= len(parts)
        return lax.slice_in_dim(jnp.stack(parts, at + 1).reshape(shape), 0, counts[axis], axis=at)

    return along(())
