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
    """

    own: int
    left: int
    right: int
    starts: tuple[int, ...]
    rows: int
    padding: tuple[int, int]
    share: int
    skips: tuple[int, ...]

    @property
    def positions(self) -> int:
        """Positions that are computed."""
        return self.share + max(self.skips)


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
    )
