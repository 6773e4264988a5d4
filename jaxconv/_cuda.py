"""What cuDNN, XLA's own convolution on a GPU, was measured to be slow at, and what to take instead.

On an H200 (jax 0.11.2, `benchmarks/gpu.json`) it is the fastest for most layers, or nearly. Of depthwise ones it has
kernels for two axes, few taps and no dilation. For others it is slow, by factors that no noise explains: how many times
as fast ours were, in float32 and in bfloat16, where they differ.

    depthwise, forward and input gradients
      2-D, 9x9 and 13x13           fft 7 to 28, 3 to 6    packing rounded, 3 to 4.4   depthwise 4.9 to 12, 1.7 to 3.2
      2-D, 17x17 to 31x31          fft 20 to 26, 7 to 20  packing 6.6 to 8.9, 3.8     depthwise 2.2 to 5.2, 2.5 to 2.9
      2-D, 3x3, dilated or 2 each  depthwise 5, 2.8 to 4.4
      1-D, 3 to 7 taps             kn2row 5 to 11, 3.6 to 20   depthwise 5 to 7.7, 4.5 to 7.8
      1-D, 15 and 31 taps          depthwise 9, 3.5 to 8.5     kn2row 4 to 7.5, 2.7 to 6.2
      1-D, 1024 taps               fft 90, 28                  depthwise 9.7, 2.9
      3-D, 3x3x3                   depthwise 5, 4
    depthwise, weight gradients
      2-D, 9x9 to 31x31            fft 5.3 to 22, 2.5 to 19
      2-D, 7x7                     fft 5.3 to 5.8, 0.3
      2-D, 3x3, dilated            kn2row 73, 10
      2-D, 3x3, 2 each             kn2row 3.4, 1.07
      1-D, 3 to 31 taps            kn2row 1.5 to 2.5, 1.9 to 7
      1-D, 3 taps, dilated         kn2row 177, 13
      1-D, 1024 taps               fft 35, 31
    dense, weight gradients
      1-D, 2 taps 4 or 64 apart    kn2row 39 to 43, 15 to 18

A rule takes what is like those: of as many taps, and as many products as the shortest. With up to 13x13 taps
`packing` of float32 goes through tensor cores, whose operands have 11 bits; lax's own depthwise convolution does not.
"""

from math import prod

from ._geometry import Geometry

DTYPES = {"float32", "bfloat16"}
MANY_TAPS, NOT_ROUNDED_FROM = 9 * 9, 17 * 17
MANY_TAPS_OF_GRADIENT = {"float32": 7 * 7, "bfloat16": 9 * 9}
FEW_TAPS = 8  # up to which a product for each is the fastest of ours
LONG = 256  # taps of one axis, from which Fourier's is; it takes as long as a sum of about 100
MOST_TAPS = {1: 2**31, 2: 3 * 3, 3: 3 * 3 * 3}  # of those that cuDNN has no kernels for
MANY_PRODUCTS, SOME_PRODUCTS = 10**8, 2 * 10**7  # fewer take no longer than starting them does


def faster(geometry: Geometry) -> tuple[str, ...]:
    """The algorithms to take, the fastest first; none where XLA's own is."""
    g = geometry
    if g.dtype not in DTYPES or max(g.lhs_dilation, default=1) > 1 or g.macs < SOME_PRODUCTS:
        return ()
    if g.groups == 1:
        is_slow = g.few_positions and g.ndim == 1 and g.strides[0] > 1 and g.macs >= MANY_PRODUCTS
        return ("kn2row",) if is_slow else ()
    if not 1 <= g.ndim <= 3:
        return ()
    # The weight gradient of a filter as long as its signal has as many positions as taps.
    is_long_gradient = g.ndim == 1 and g.in_channels > 1 and min(g.kernel[0], g.out_spatial[0]) >= LONG
    return _for_depthwise_gradient(g) if g.few_positions or is_long_gradient else _for_depthwise(g)


def _for_depthwise(g: Geometry) -> tuple[str, ...]:
    """Forward and input gradients."""
    if g.in_channels > 1 or g.out_channels > 2 or set(g.strides) != {1}:
        return ()
    taps = prod(g.kernel)
    if g.ndim == 2 and g.out_channels == 1 and set(g.rhs_dilation) == {1}:
        if taps < MANY_TAPS or g.macs < MANY_PRODUCTS:
            return ()
        may_be_rounded = g.dtype == "float32" and taps < NOT_ROUNDED_FROM
        return ("fft", "depthwise") if may_be_rounded else ("fft", "packing")
    if taps > MOST_TAPS[g.ndim]:
        return ()
    if taps <= FEW_TAPS:
        return ("kn2row", "depthwise")
    return ("fft", "depthwise") if taps >= LONG else ("depthwise",)


def _for_depthwise_gradient(g: Geometry) -> tuple[str, ...]:
    """Weight gradients: their taps are this convolution's positions, their dilation its stride."""
    if g.batch > 1 or g.out_channels > 2 or set(g.rhs_dilation) != {1} or g.ndim == 3:
        return ()
    taps = prod(g.out_spatial)
    if g.ndim == 1:
        return ("kn2row", "fft")  # only few taps are for products, one for each
    if set(g.strides) != {1} or g.out_channels > 1:
        is_slow = g.dtype == "float32" or g.out_channels == 1
        return ("kn2row",) if is_slow and taps <= MOST_TAPS[2] else ()
    return ("fft",) if taps >= MANY_TAPS_OF_GRADIENT[g.dtype] and g.macs >= MANY_PRODUCTS else ()
