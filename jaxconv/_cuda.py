"""What cuDNN, XLA's own convolution on a GPU, was measured to be slow at, and what to take instead.

On an H200 (jax 0.11.2, `benchmarks/gpu.json`) it is the fastest for most layers, or nearly. For these it is not, by
factors that no noise explains: how many times as fast ours were, in float32 and in bfloat16.

    depthwise                   fft                  packing               depthwise
      9x9, 13x13                7 to 28, 3 to 6      rounded, 3 to 4.4     4.9 to 12, 1.7 to 3.2
      17x17 to 31x31            20 to 26, 7 to 20    6.6 to 8.9, 3.8       2.2 to 5.2, 2.5 to 2.9
      their weight gradients    5.3 to 22, 2.5 to 19
      7x7, weight gradients     5.3 to 5.8, 0.3
    1-D, weight gradients of 2 taps, 4 or 64 apart: kn2row 39 to 43, 15 to 18

A rule takes what is like those: of as many taps, and as many products as the shortest. With up to 13x13 taps
`packing` of float32 goes through tensor cores, whose operands have 11 bits; lax's own depthwise convolution does not.
"""

from math import prod

from ._geometry import Geometry

DTYPES = {"float32", "bfloat16"}
MANY_TAPS, NOT_ROUNDED_FROM = 9 * 9, 17 * 17
MANY_TAPS_OF_GRADIENT = {"float32": 7 * 7, "bfloat16": 9 * 9}
MANY_PRODUCTS = 10**8  # fewer take no longer than starting them does


def faster(geometry: Geometry) -> tuple[str, ...]:
    """The algorithms to take, the fastest first; none where XLA's own is."""
    g = geometry
    if g.dtype not in DTYPES or max(g.lhs_dilation, default=1) > 1 or g.macs < MANY_PRODUCTS:
        return ()
    if g.groups == 1:
        return ("kn2row",) if g.few_positions and g.ndim == 1 and g.strides[0] > 1 else ()
    if g.ndim != 2 or g.out_channels > 1 or {*g.strides, *g.rhs_dilation} != {1}:
        return ()
    if g.few_positions:
        return ("fft",) if prod(g.out_spatial) >= MANY_TAPS_OF_GRADIENT[g.dtype] else ()
    taps = prod(g.kernel)
    if g.in_channels > 1 or taps < MANY_TAPS:
        return ()
    may_be_rounded = g.dtype == "float32" and taps < NOT_ROUNDED_FROM
    return ("fft", "depthwise") if may_be_rounded else ("fft", "packing")
