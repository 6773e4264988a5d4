"""Convolution of an input that goes on beyond its edges in another way than with zeros.

`padding` says how far it goes on, `padding_mode` with what. The input is extended once, by copying, and the convolution
is the one of the library: gradients, batching and the choice of algorithm are as ever.
"""

from collections.abc import Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._conv import conv_general_dilated
from .._parameters import check_operands, geometry_of
from .axes import Padding, pads
from .options import Options, check_options

# PyTorch's names, and NumPy's.
PADDING_MODES = {"zeros": "constant", "circular": "wrap", "reflect": "reflect", "replicate": "edge"}


def conv_with_padding_mode(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Sequence[int],
    padding: Padding,
    padding_mode: str = "zeros",
    *,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    out_sharding: Any = None,
    **options: Unpack[Options],
) -> jax.Array:
    """`conv_general_dilated` of an input that is padded with zeros, its other end, its mirror image or its edge.

    Where the padding is longer than the input, the input is repeated, mirrored at either end in turn, or its edge
    repeated, as often as it takes, as in `numpy.pad`.

    Args:
      lhs, rhs, window_strides: as in `conv_general_dilated`.
      padding: "SAME", "SAME_LOWER", "VALID", one integer for all sides, for each spatial axis an integer or a pair
        (low, high), or "CAUSAL": (taps - 1) * rhs_dilation before and nothing after, along every spatial axis, so that
        no result depends on inputs after its own position. Negative values leave out as many of the first or last
        positions.
      padding_mode: what stands in the padding of a, b, c, d:
        "zeros": 0 0 | a b c d | 0 0;
        "circular": c d | a b c d | a b;
        "reflect": c b | a b c d | c b (of one element: that element);
        "replicate": a a | a b c d | d d.
        "circular" and "reflect" bring later inputs to the front and do not go with "CAUSAL".
      lhs_dilation: above 1 (a transposed convolution) with "zeros" only.
      rhs_dilation, dimension_numbers, feature_group_count, batch_group_count, out_sharding, options: as in
        `conv_general_dilated`.

    Returns:
      The convolution, shaped and typed as that with the same padding of zeros. Any mode but "zeros" makes a padded copy
      of lhs.

    Raises:
      ValueError: for an unknown mode, modes that do not go with the other arguments, and an axis of length 0 that is to
        be extended by what is not there.
      TypeError, ValueError: as `conv_general_dilated`.

    >>> import jax.numpy as jnp, jaxconv
    >>> ring, sum_of_three = jnp.array([1, 2, 3, 4]).reshape(1, 1, 4), jnp.ones((1, 1, 3), int)
    >>> jaxconv.conv_with_padding_mode(ring, sum_of_three, (1,), "SAME", "circular").tolist()
    [[[7, 6, 9, 8]]]
    >>> jaxconv.conv_with_padding_mode(ring, sum_of_three, (1,), "CAUSAL").tolist()
    [[[1, 3, 6, 9]]]
    """
    check_options("conv_with_padding_mode", options)
    arguments = {
        "lhs_dilation": lhs_dilation,
        "rhs_dilation": rhs_dilation,
        "dimension_numbers": dimension_numbers,
        "feature_group_count": feature_group_count,
        "batch_group_count": batch_group_count,
        "out_sharding": out_sharding,
    }
    lhs, left = extended("conv_with_padding_mode", lhs, rhs, window_strides, padding, padding_mode, **arguments)
    return conv_general_dilated(lhs, rhs, window_strides, left, **arguments, **options)


def check_padding_mode(function: str, padding: Any, padding_mode: str) -> None:
    """ValueError, naming the function, for an unknown mode, and for one that does not go with padding "CAUSAL"."""
    if padding_mode not in [*PADDING_MODES]:
        hint = ": 'CAUSAL' is a padding" if str(padding_mode).upper() == "CAUSAL" else ""
        modes = ", ".join(map(repr, PADDING_MODES))
        raise ValueError(f"{function} padding_mode must be one of {modes}, got {padding_mode!r}{hint}")
    if padding == "CAUSAL" and padding_mode in ("circular", "reflect"):
        raise ValueError(f"{function} padding 'CAUSAL' keeps later inputs out, {padding_mode!r} does not")


def extended(
    function: str,
    lhs: ArrayLike,
    rhs: ArrayLike | jax.ShapeDtypeStruct,
    window_strides: Sequence[int],
    padding: Padding,
    padding_mode: str,
    **arguments: Any,
) -> tuple[ArrayLike, str | tuple[tuple[int, int], ...]]:
    """lhs with its padding, and the padding that is left to a convolution with zeros.

    Args and errors are those of `conv_with_padding_mode`, with the name of the function; of rhs the shape counts.
    """
    check_operands(lhs, rhs, function)
    ndim = max(0, np.ndim(lhs) - 2)
    padding = pads(function, padding, ndim)
    check_padding_mode(function, padding, padding_mode)
    if padding == "CAUSAL":
        geometry = geometry_of(lhs, rhs, window_strides, ((0, 0),) * ndim, **arguments)
        gaps = zip(geometry.kernel, geometry.rhs_dilation, strict=True)
        padding = tuple(((taps - 1) * dilation, 0) for taps, dilation in gaps)
    if padding_mode == "zeros":
        return lhs, padding
    return _extended(function, lhs, padding_mode, geometry_of(lhs, rhs, window_strides, padding, **arguments))


def _extended(function, lhs, padding_mode, geometry) -> tuple[jax.Array, tuple[tuple[int, int], ...]]:
    """lhs with its padding, and the padding that is left to the convolution: the negative one.

    Extending comes first and leaving out second: a window on the infinite extension, moved or made smaller.
    """
    if max(geometry.lhs_dilation, default=1) > 1:
        raise ValueError(
            f"{function} padding_mode {padding_mode!r} does not go with lhs_dilation "
            f"{geometry.lhs_dilation}: padding is counted on the dilated input"
        )
    widths = [(0, 0)] * (geometry.ndim + 2)
    for axis, size, (low, high) in zip(
        geometry.dimension_numbers.lhs_spec[2:], geometry.spatial, geometry.padding, strict=True
    ):
        widths[axis] = max(low, 0), max(high, 0)
        if size == 0 and any(widths[axis]):
            raise ValueError(
                f"{function} cannot pad an axis of length 0 with padding_mode {padding_mode!r}: "
                f"spatial sizes {geometry.spatial}, padding {geometry.padding}"
            )
    crops = tuple((min(low, 0), min(high, 0)) for low, high in geometry.padding)
    return jnp.pad(lhs, widths, mode=PADDING_MODES[padding_mode]), crops
