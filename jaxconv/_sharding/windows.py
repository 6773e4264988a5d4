"""Which rows of a sharded axis each shard needs for its share of a convolution, in whole numbers.

Along one spatial axis a convolution adds up products of rows of lhs and taps of rhs,

    out[t] = sum over k of  padded_lhs[stride*t + rhs_dilation*k] * rhs[k],

and what is shared out among the shards is either t, the results, or k, the taps (of a weight gradient, whose "kernel"
is as long as the image). Shard j has rows [j*own, (j+1)*own) of lhs and the share [j*share, (j+1)*share) of whichever
it is. The sum is the same with t and k exchanged, and so is the question: for positions `step*p`, some of the share,
and everything up to `reach` behind each, which rows?

A dilated input is met at every `dilation`-th position only. A block of positions starts where that is at the same phase
for all blocks of all shards, so that one program, with one padding, serves them all; what that is too early by is
computed and left out.
"""

from math import gcd
from typing import NamedTuple

import numpy as np

from .._geometry import ceil_div

Span = tuple[int, int]  # the first, and the one after the last


class Window(NamedTuple):
    """What shards do along one axis.

    Attributes:
      size: rows of lhs.
      total: positions (results or taps).
      shards: how many share them.
      step: from one position to the next, in rows of the dilated lhs.
      reach: from a position to the last row its sum meets.
      dilation: of lhs.
      low: padding ahead of the dilated lhs.
      own, share: rows and positions of a shard. The last shards may have fewer real ones.
      left, right: rows to be received from the shards before and after, of the one that needs most.
    """

    size: int
    total: int
    shards: int
    step: int
    reach: int
    dilation: int
    low: int
    own: int
    share: int
    left: int
    right: int

    def rows_until(self, place):
        """Rows of lhs that lie before this place in the padded and dilated lhs."""
        return -((self.low - place) // self.dilation)

    def blocks_of(self, length: int) -> "Blocks":
        """Each shard's positions in blocks of so many. The last block is moved back to end with the share."""
        period = self.dilation // gcd(self.step, self.dilation)  # positions after which the phase is the same again
        shard = np.arange(self.shards)[:, None]
        starts = np.minimum(np.arange(ceil_div(self.share, length)) * length, self.share - length)
        positions = shard * self.share + starts
        skips = positions % period
        computed = length + int(skips.max())
        rows = self.rows_until(self.step * (computed - 1) + self.reach + 1) - self.rows_until(0)
        before = self.dilation * self.rows_until(0) + self.low
        extent = self.step * (computed - 1) + self.reach + 1
        firsts = self.rows_until(self.step * (positions - skips)) - shard * self.own
        for of_shard in range(1, self.shards):  # where there is nothing to compute, anything will do
            idle = positions[of_shard] >= self.total
            firsts[of_shard, idle] = firsts[of_shard - 1, idle]
        # Rows of zeros may be any rows of zeros: those next to what is there.
        firsts = firsts.clip(-self.left - rows, self.own + self.right)
        first = int(firsts.flat[0])
        if (firsts == first).all() and 0 <= first <= first + rows <= self.own:  # to crop is no copy
            before, rows, firsts = before - self.dilation * first, self.own, np.zeros_like(firsts)
        padding = before, extent - before - ((rows - 1) * self.dilation + 1 if rows else 0)
        return Blocks(length, starts, skips, computed, firsts, rows, padding)


class Blocks(NamedTuple):
    """A share in blocks. Arrays are by shard and block.

    Attributes:
      length: positions of a block.
      starts: its first position, counted from the first of the share. [blocks]
      skips: positions that are computed ahead of these, for the sake of the phase.
      computed: all that are.
      firsts: the first row they meet, counted from the first of the shard's own. Rows that nobody has are zeros.
      rows: how many they meet.
      padding: (low, high) around these once they are dilated.
    """

    length: int
    starts: np.ndarray
    skips: np.ndarray
    computed: int
    firsts: np.ndarray
    rows: int
    padding: tuple[int, int]


def window(size: int, total: int, shards: int, step: int, reach: int, dilation: int, low: int) -> Window:
    """The window, given what is not of one shard."""
    own, share = ceil_div(size, shards), ceil_div(total, shards)
    part = Window(size, total, shards, step, reach, dilation, low, own, share, 0, 0)
    position = np.arange(total)
    first = part.rows_until(step * position).clip(0)
    end = part.rows_until(step * position + reach + 1).clip(max=size)
    before = (position // share * own - first)[first < end]
    after = (end - (position // share + 1) * own)[first < end]
    return part._replace(left=int(before.max(initial=0)), right=int(after.max(initial=0)))
