"""Which rows of a sharded axis each shard needs for its share of a convolution, in whole numbers.

Along one spatial axis a convolution adds up products of rows of lhs and taps of rhs,

    out[t] = sum over k of  padded_lhs[stride*t + rhs_dilation*k] * rhs[k],

and what is shared out among the shards is either t, the results, or k, the taps (of a weight gradient, whose "kernel"
is as long as the image). Shard j has rows [j*own, (j+1)*own) of lhs and the share [j*share, (j+1)*share) of whichever
it is. The sum is the same with t and k exchanged, and so is the question: for positions `step*p`, p in the share, and
everything up to `reach` behind each, which rows?

A dilated input is met at every `dilation`-th position only. The window starts where that is at the same phase for all
shards, so that one program, with one padding, serves them all; what that is too early by is computed and left out.
"""

from math import gcd
from typing import NamedTuple

Span = tuple[int, int]  # the first, and the one after the last


class Piece(NamedTuple):
    """Some of what a shard does along one axis: rows, counted from the first of its own, and positions of its share."""

    rows: Span
    positions: Span


class Window(NamedTuple):
    """What one shard does along one axis; lists are by shard.

    Attributes:
      own: rows of a shard. The last shards may have fewer real ones.
      left, right: rows to be received from the shards before and after, of the one that needs most.
      starts: first row of the window, counted from the first row received; rows that nobody has are zeros.
      rows: rows of the window.
      padding: (low, high) around the window once it is dilated.
      share: positions (results or taps) of a shard.
      skips: positions that are computed ahead of the share, for the sake of the phase.
      step, reach, dilation: of the convolution, as above.
    """

    own: int
    left: int
    right: int
    starts: tuple[int, ...]
    rows: int
    padding: tuple[int, int]
    share: int
    skips: tuple[int, ...]
    step: int
    reach: int
    dilation: int

    @property
    def positions(self) -> int:
        """Positions that are computed."""
        return self.share + max(self.skips)

    @property
    def is_regular(self) -> bool:
        """Whether all shards do the same, with some rows of their own and of the two next to them."""
        same = len({*self.starts}) == 1 and not any(self.skips) and max(self.left, self.right) <= self.own
        first, end = self.all_rows.rows
        return same and max(first, 0) < min(end, self.own)

    # Of a regular window, row r is met where it stands in the padded and dilated lhs, at `origin + dilation * r`, by
    # the positions p with  step * p <= origin + dilation * r <= step * p + reach.

    @property
    def origin(self) -> int:
        """Where the first of the shard's own rows stands."""
        return self.padding[0] + self.dilation * (self.left - self.starts[0])

    @property
    def inner(self) -> Span:
        """The positions that meet no rows of other shards."""
        first = -((self.dilation - 1 - self.origin) // self.step) if self.left else 0
        end = -((self.reach - self.origin - self.dilation * self.own) // self.step) if self.right else self.share
        return min(max(first, 0), self.share), min(max(end, 0), self.share)

    @property
    def own_rows(self) -> Piece:
        """All positions, of the shard's own rows."""
        return Piece((0, self.own), (0, self.share))

    @property
    def all_rows(self) -> Piece:
        """All positions, of all rows that they meet."""
        return self.met_by((0, self.share))

    def met_by(self, positions: Span) -> Piece:
        """These, and the rows that they meet."""
        first = -((self.origin - self.step * positions[0]) // self.dilation)
        last = (self.step * (positions[1] - 1) + self.reach - self.origin) // self.dilation
        return Piece((max(first, -self.left), min(last + 1, self.own + self.right)), positions)

    def padding_of(self, piece: Piece) -> tuple[int, int]:
        """(low, high) around the rows of the piece once they are dilated."""
        (row, end), (first, last) = piece.rows, piece.positions
        low = self.origin + self.dilation * row - self.step * first
        extent = self.step * (last - 1 - first) + self.reach + 1
        return low, extent - low - ((end - row - 1) * self.dilation + 1)


def window(size: int, positions: int, shards: int, step: int, reach: int, dilation: int, low: int) -> Window:
    """The window of each shard.

    Args:
      size: rows of lhs.
      positions: results, or taps.
      shards: how many share them.
      step: from one position to the next, in rows of the dilated lhs.
      reach: from a position to the last row its sum meets.
      dilation: of lhs.
      low: padding ahead of the dilated lhs.
    """
    own, share = -(-size // shards), -(-positions // shards)
    period = dilation // gcd(step, dilation)  # positions after which the phase is the same again
    begins = [shard * share // period * period for shard in range(shards)]
    skips = [shard * share - begin for shard, begin in enumerate(begins)]
    computed = share + max(skips)

    def rows_until(position: int) -> int:
        """Rows of lhs that lie before this position of the padded and dilated lhs."""
        return -((low - position) // dilation)

    firsts = [rows_until(step * begin) for begin in begins]
    rows = rows_until(step * (computed - 1) + reach + 1) - firsts[0]
    before = dilation * firsts[0] + low
    extent = step * (computed - 1) + reach + 1
    dilated = (rows - 1) * dilation + 1 if rows else 0

    left = right = 0
    for shard in range(shards):
        real = range(shard * share, min((shard + 1) * share, positions))
        if real:
            first, end = rows_until(step * real[0]), rows_until(step * real[-1] + reach + 1)
            first, end = max(first, 0), min(end, size)
            if first < end:
                left, right = max(left, shard * own - first), max(right, end - (shard + 1) * own)
        else:  # nothing to compute: anything will do
            firsts[shard] = firsts[shard - 1] + own
    return Window(
        own,
        left,
        right,
        tuple(first - shard * own + left for shard, first in enumerate(firsts)),
        rows,
        (before, extent - before - dilated),
        share,
        tuple(skips),
        step,
        reach,
        dilation,
    )
