"""What one shard does along one axis, and which axes there are."""

from typing import NamedTuple

import jax

from .._geometry import Geometry, ceil_div
from .factors import Axes, is_summed, spatial_factor
from .windows import Blocks, Window, window


class Along(NamedTuple):
    """What is done along one axis, a block at a time.

    Attributes:
      part: which rows meet which positions, or taps.
      names: the mesh axes over which these are shared out.
      lhs: axis of lhs, with the rows.
      other: axis of out, with the positions, or of rhs, with the taps.
      is_summed: whether it is taps, or input channels.
      spatial: which spatial axis it is; None for images, groups and input channels, which have no neighbours.
      length: positions, or taps, of a block.
      rhs: of groups, the axis of rhs that has them, too. These are not cut.
    """

    part: Window
    names: Axes
    lhs: int
    other: int
    is_summed: bool
    spatial: int | None
    length: int
    rhs: int | None = None

    @property
    def blocks(self) -> Blocks:
        """All of them."""
        return self.part.blocks_of(self.length)

    @property
    def turns(self) -> int:
        """How many they are."""
        return ceil_div(self.part.share, self.length)

    @property
    def is_as_it_is(self) -> bool:
        """Whether the one block is what the shard has, all of it real."""
        part, blocks = self.part, self.blocks
        if self.turns == part.shards == 1:
            return True
        moved = blocks.rows != part.own or blocks.firsts.any() or blocks.skips.any()
        return self.turns == 1 and not moved and self.has_real_rows and self.has_real_taps

    @property
    def copies_taps(self) -> bool:
        """Whether the taps that the shard has will not do."""
        if self.rhs is not None:
            return not self.has_real_rows
        return self.is_summed and (self.turns > 1 or not self.has_real_taps or bool(self.blocks.skips.any()))

    @property
    def has_real_rows(self) -> bool:
        """Whether all are, of those that count: images meet no others.

        Nor do groups, but there are algorithms, XLA's own among them, that multiply those of others by zeros.
        """
        are_images = self.spatial is None and not self.is_summed and self.rhs is None
        return are_images or self.part.own * self.part.shards == self.part.size

    @property
    def has_real_taps(self) -> bool:
        """The same of taps, where they are shared out."""
        return not self.is_summed or self.part.share * self.part.shards == self.part.total


def window_of(geometry: Geometry, factor: str, shards: int) -> Window:
    """What a shard does along a spatial axis, by positions ("p0") or by taps ("t0")."""
    axis = int(factor[1:])
    shared, summed = geometry.out_spatial[axis], geometry.kernel[axis]
    step, gap = geometry.strides[axis], geometry.rhs_dilation[axis]
    if is_summed(factor):
        shared, summed, step, gap = summed, shared, gap, step
    dilation, (low, _) = geometry.lhs_dilation[axis], geometry.padding[axis]
    return window(geometry.spatial[axis], shared, shards, step, gap * (summed - 1), dilation, low)


def axes_of(lhs: jax.Array, geometry: Geometry, axes: dict[str, Axes], shards: dict[str, int]) -> list[Along]:
    """All along which there may be blocks, as one block each; those that are best to cut first.

    These are the outermost axis and then those of space, whose blocks are long stretches of memory.

    Args:
      lhs: a shard.
      geometry: the whole convolution.
      axes: factor -> mesh axes.
      shards: factor -> how many share it.
    """
    numbers = geometry.dimension_numbers
    space = []
    for axis in range(geometry.ndim):
        factor = next((name for name in (f"p{axis}", f"t{axis}") if name in shards), spatial_factor(geometry, axis))
        part, is_taps = window_of(geometry, factor, shards.get(factor, 1)), is_summed(factor)
        other = (numbers.rhs_spec if is_taps else numbers.out_spec)[2 + axis]
        space.append(Along(part, axes.get(factor, ()), numbers.lhs_spec[2 + axis], other, is_taps, axis, part.share))

    others = []
    if geometry.groups % shards.get("g", 1):  # of one channel each: others come out even
        part = window(geometry.groups, geometry.groups, shards["g"], 1, 0, 1, 0)
        of_lhs = numbers.lhs_spec[0 if geometry.batch_grouped else 1]
        of_rhs, of_out = numbers.rhs_spec[0], numbers.out_spec[1]
        others.append(Along(part, axes["g"], of_lhs, of_out, False, None, part.share, of_rhs))
    groups = ceil_div(geometry.groups, shards.get("g", 1))  # which share an axis with either of these
    if groups == 1 or geometry.batch_grouped:
        part = window(geometry.in_channels, geometry.in_channels, shards.get("c", 1), 1, 0, 1, 0)
        others.append(Along(part, axes.get("c", ()), numbers.lhs_spec[1], numbers.rhs_spec[1], True, None, part.share))
    if groups == 1 or not geometry.batch_grouped:
        images = lhs.shape[numbers.lhs_spec[0]]
        part = window(images, images, 1, 1, 0, 1, 0)
        others.append(Along(part, (), numbers.lhs_spec[0], numbers.out_spec[0], False, None, images))

    def by_memory(along: Along) -> tuple[bool, int]:
        return along.spatial is None and along.lhs > 0, along.lhs

    return sorted([*space, *others], key=by_memory)
