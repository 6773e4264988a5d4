"""How the sum of a convolution is cut into parts, so that one takes no more memory than it may: for weight gradients,
whose output, the taps, is small, whose operands are large and whose sum is long. Its summed channels are images and its
taps positions. Its own images are input channels; some of them at a time are for where the least part of the sum for
all takes too much.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import chain, product
from math import isqrt, prod
from typing import NamedTuple

import jax.numpy as jnp

from ._geometry import Geometry, ceil_div, dilated

Workspace = Callable[[Geometry], int]


class Cut(NamedTuple):
    """How a sum is cut into parts.

    Attributes:
      along: what of, the first first: channels, and rows of taps along the first axis.
      max_channels, max_rows: the most that a part has.
      cached: whether a part is small enough to stay in the cache. The largest such part is taken, if there is one.
      ahead: whether each part is read while the one before is computed, for what the compiler fuses with reading.
      copies: how often a window of some rows of lhs is in memory, beside what the workspace of a part counts.
      copies_of_rhs: the same of what a part reads of rhs, where it is not the whole.
      apart: whether some images may be computed at a time, where the least part of the sum for all takes too much.
    """

    along: tuple[str, ...] = ("channels", "rows")
    max_channels: int | None = None
    max_rows: int | None = None
    cached: Callable[[Geometry], bool] | None = None
    ahead: bool = False
    copies: int = 0
    copies_of_rhs: int = 0
    apart: bool = False


CUT = Cut()


def summed(geometry: Geometry, channels: int, rows: int, images: int | None = None) -> Geometry:
    """The convolution of some of the channels, and images, with some of the taps along the first axis.

    Its lhs is a window of that axis. Where all windows begin equally far in front of an element of the dilated lhs, it
    is one of elements, dilated as they were; otherwise of the dilated and padded lhs. Its result is of the type that
    sums are kept in, as the sum of all of them alone is rounded.
    """
    g = replace(geometry, in_channels=channels, batch=images or geometry.batch)
    if g.in_channels < geometry.in_channels or (g.ndim and rows < g.kernel[0]):
        g = replace(g, preferred_element_type=g.accumulator.name)
    if not g.ndim or rows == g.kernel[0]:
        return g
    grow = g.lhs_dilation[0] if rows * g.rhs_dilation[0] % g.lhs_dilation[0] == 0 else 1
    reach = (g.out_spatial[0] - 1) * g.strides[0] + dilated(rows, g.rhs_dilation[0])
    cropped = -g.padding[0][0] % grow  # between the first element of a window and what its first tap meets
    length = ceil_div(reach + cropped, grow)
    return replace(
        g,
        kernel=(rows, *g.kernel[1:]),
        spatial=(length, *g.spatial[1:]),
        padding=((-cropped, reach + cropped - dilated(length, grow)), *g.padding[1:]),
        lhs_dilation=(grow, *g.lhs_dilation[1:]),
    )


def sizes(geometry: Geometry, cut: Cut) -> dict[str, list[int]]:
    """How many rows and channels equal parts of the sum may have, from the largest; first what is cut last."""
    g = geometry
    found = {"rows": [g.kernel[0] if g.ndim else 1], "channels": [g.in_channels]}
    found |= {name: divisors(found[name][0]) for name in cut.along}
    for name, most in (("channels", cut.max_channels), ("rows", cut.max_rows)):
        found[name] = [size for size in found[name] if not most or size <= most]
    return {name: found[name] for name in [*reversed(cut.along), *found]}


def divisions(geometry: Geometry, cut: Cut, images: int | None = None) -> Iterator[Geometry]:
    """The ways to cut the sum, for so many images or all, into equal parts, larger ones first."""
    by_name = sizes(geometry, cut)
    for parts in product(*by_name.values()):
        yield summed(geometry, **dict(zip(by_name, parts, strict=True)), images=images)


def smallest(geometry: Geometry, cut: Cut) -> Geometry:
    """The least part that there is."""
    least = {name: of[-1] for name, of in sizes(geometry, cut).items()}
    return summed(geometry, **least, images=1 if cut.apart else None)


def count(geometry: Geometry, part: Geometry) -> int:
    """How many such parts there are."""
    whole, some = (g.batch * g.in_channels * prod(g.kernel) for g in (geometry, part))
    return whole // some


def divisors(size: int) -> list[int]:
    """From the largest."""
    small = [part for part in range(1, isqrt(size) + 1) if size % part == 0]
    return sorted({*small, *(size // part for part in small)}, reverse=True)


def needed(geometry: Geometry, part: Geometry, workspace: Workspace, cut: Cut) -> int:
    """Bytes that the part takes."""
    is_window = part.kernel != geometry.kernel
    is_part = is_window or part.in_channels != geometry.in_channels
    itemsize = jnp.dtype(part.dtype).itemsize
    window = part.batch * prod(part.spatial) * part.groups * part.in_channels * itemsize
    of_rhs = prod(part.kernel) * part.in_channels * part.groups * part.out_channels * itemsize
    total = workspace(part) + cut.copies * is_window * window + cut.copies_of_rhs * is_part * of_rhs
    if part.batch < geometry.batch:  # results are cut out to be added to; if all are to be rounded, they are there
        is_rounded = geometry.accumulator != jnp.dtype(geometry.out_dtype)
        total += (results(part) + is_rounded * results(geometry)) * geometry.accumulator.itemsize
    return total


@lru_cache(4096)
def choose_summands(geometry: Geometry, workspace: Workspace, max_bytes: int, cut: Cut = CUT) -> Geometry | None:
    """The largest part of the sum that fits under the bound, and in the cache if one does. If none does, of those for
    some images the one for which all parts together need least; or None."""

    def bytes_of(some: Geometry) -> int:
        return needed(geometry, some, workspace, cut)

    def fitting(images: int | None = None) -> Iterator[Geometry]:
        return (some for some in divisions(geometry, cut, images) if bytes_of(some) <= max_bytes)

    cached = filter(cut.cached, fitting()) if cut.cached else iter(())
    if largest := next(cached, None) or next(fitting(), None):
        return largest
    apart = chain.from_iterable(map(fitting, divisors(geometry.batch)[1:])) if cut.apart else iter(())
    return min(apart, key=lambda some: bytes_of(some) * count(geometry, some), default=None)


def chosen_or_smallest(geometry: Geometry, workspace: Workspace, max_bytes: int, cut: Cut) -> Geometry:
    """The part that is chosen, or where none fits the least that there is."""
    return choose_summands(geometry, workspace, max_bytes, cut) or smallest(geometry, cut)


def results(geometry: Geometry) -> int:
    """How many there are."""
    g = geometry
    return g.batch * prod(g.out_spatial) * g.groups * g.out_channels
