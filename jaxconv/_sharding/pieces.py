"""A shard's convolution without a copy of the shard: of its own rows where they lie, and of those next to them apart.

This is for windows that are at the same place in all shards, and mostly of their own rows. Along axes whose positions
are shared out,

    out = convolution of the shard's own rows, with zeros for the neighbours',
    its first and last positions, which meet these, written over: each the convolution of a few rows of both,

and along axes whose taps are shared out, whose result is the sum of what rows and taps give, whoever has the rows,

    out = that of its own rows + that of the rows before, with the taps that meet them, + that of the rows after.

Nothing that is made is larger than some rows along one of the axes, and the convolution of the shard's own rows waits
for no message.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
from jax import lax

from .along import Along
from .blocks import Convolve
from .surroundings import Side, cut, read, surroundings
from .windows import Span, Window


class Piece(NamedTuple):
    """Some of what a shard does along one axis: rows, counted from the first of its own, and positions of its share."""

    rows: Span
    positions: Span


class Regular(NamedTuple):
    """A window that is at the same place in all shards. Its row r, counted from the first of the shard's own, stands in
    the padded and dilated lhs at `origin + dilation * r`, and is met there by the positions p with

        step * p <= origin + dilation * r <= step * p + reach.
    """

    along: Along
    origin: int

    @property
    def part(self) -> Window:
        return self.along.part

    @property
    def inner(self) -> Span:
        """The positions that meet no rows of other shards."""
        part = self.part
        first = -((part.dilation - 1 - self.origin) // part.step) if part.left else 0
        end = -((part.reach - self.origin - part.dilation * part.own) // part.step) if part.right else part.share
        return min(max(first, 0), part.share), min(max(end, 0), part.share)

    @property
    def own_rows(self) -> Piece:
        """All positions, of the shard's own rows."""
        return Piece((0, self.part.own), (0, self.part.share))

    @property
    def all_rows(self) -> Piece:
        """All positions, of all rows that they meet."""
        return self.met_by((0, self.part.share))

    @property
    def edges(self) -> list[Piece]:
        """The positions that meet rows of neighbours, and all rows that these meet."""
        first, end = self.inner
        return [self.met_by(span) for span in ((0, first), (end, self.part.share)) if span[0] < span[1]]

    @property
    def neighbours_rows(self) -> list[Piece]:
        """The rows of neighbours, and the positions that meet these."""
        part, (first, end) = self.part, self.inner
        pieces = Piece((-part.left, 0), (0, first)), Piece((part.own, part.own + part.right), (end, part.share))
        return [piece for piece in pieces if piece.rows[0] < piece.rows[1]]

    def met_by(self, positions: Span) -> Piece:
        """These, and the rows that they meet."""
        part = self.part
        first = -((self.origin - part.step * positions[0]) // part.dilation)
        last = (part.step * (positions[1] - 1) + part.reach - self.origin) // part.dilation
        return Piece((max(first, -part.left), min(last + 1, part.own + part.right)), positions)

    def padding_of(self, piece: Piece) -> tuple[int, int]:
        """(low, high) around the rows of the piece once they are dilated."""
        part, (row, end), (first, last) = self.part, *piece
        low = self.origin + part.dilation * row - part.step * first
        extent = part.step * (last - 1 - first) + part.reach + 1
        return low, extent - low - ((end - row - 1) * part.dilation + 1)


def regular_windows(alongs: Sequence[Along]) -> list[Regular]:
    """Those of the axes that are shared out, if all are regular and mostly of the shard's own rows; else none."""
    spatial = [along for along in alongs if along.spatial is not None and along.part.shards > 1]
    windows = list(filter(None, map(_regular, spatial)))
    same = len(windows) == len(spatial) and len({along.is_summed for along in spatial}) == 1
    return windows if same and all(along.is_as_it_is for along in alongs if along.spatial is None) else []


def _regular(along: Along) -> Regular | None:
    part, blocks = along.part, along.part.blocks_of(along.part.share)
    if len({*blocks.firsts.flat}) > 1 or blocks.skips.any() or not along.has_real_rows or not along.has_real_taps:
        return None
    window = Regular(along, blocks.padding[0] - part.dilation * int(blocks.firsts.flat[0]))
    first, end = window.all_rows.rows
    has_own = max(first, 0) < min(end, part.own) and (along.is_summed or window.inner[0] < window.inner[1])
    return window if has_own and max(part.left, part.right) <= part.own else None


def in_pieces(
    convolve: Convolve, lhs: jax.Array, rhs: jax.Array, windows: Sequence[Regular], mesh: dict[str, int]
) -> jax.Array:
    """This shard's results, or its part of their sum.

    Args:
      convolve: (lhs, rhs, spatial axis -> padding) -> out.
      lhs, rhs: shards.
      windows: for each axis whose rows are shared out, all by positions or all by taps.
      mesh: sizes of the mesh axes, in the order of the mesh.
    """
    alongs = [window.along for window in windows]
    here = surroundings(
        lhs, [Side(along.lhs, along.part.left, along.part.right, along.names) for along in alongs], mesh
    )

    def piece(chosen: Sequence[Piece]) -> jax.Array:
        """The convolution of some of the rows, for some of the positions, along each axis."""
        rows = read(here, [some.rows[0] for some in chosen], [some.rows[1] - some.rows[0] for some in chosen])
        taps, padding = {}, {}
        for window, some in zip(windows, chosen, strict=True):
            first, end = some.positions
            padding[window.along.spatial] = window.padding_of(some)
            if window.along.is_summed:
                taps[window.along.other] = first, end - first
        return convolve(rows, cut(rhs, taps), padding)

    own = [window.own_rows for window in windows]
    every = [window.all_rows for window in windows]
    received = [Piece((-along.part.left, along.part.own + along.part.right), (0, along.part.share)) for along in alongs]
    out = piece(own)
    for place, window in enumerate(windows):
        if window.along.is_summed:
            for edge in window.neighbours_rows:
                out = out + piece([*received[:place], edge, *own[place + 1 :]])
        else:
            for edge in window.edges:
                value = piece([*every[:place], edge, *every[place + 1 :]])
                out = lax.dynamic_update_slice_in_dim(out, value, edge.positions[0], window.along.other)
    return out
