"""What cuDNN, XLA's own convolution on a GPU, was measured to be slow at, and what to take instead.

On an H200 (jax 0.11.2, `benchmarks/gpu.json`) it is the fastest for most layers, or nearly. Of depthwise ones it has
kernels for two axes, few taps and no dilation, and of weight gradients for layers without dilation. For others it is
slow, by factors that no noise explains: how many times as fast ours were, in float32 and in bfloat16, where they
differ. float16 is as bfloat16.

    depthwise, forward and input gradients
      2-D, 9x9 and 13x13           fft 7 to 28, 3 to 6    packing rounded, 3 to 4.4   depthwise 4.9 to 12, 1.7 to 3.2
      2-D, 17x17 to 31x31          fft 20 to 26, 7 to 20  packing 6.6 to 8.9, 3.8     depthwise 2.2 to 5.2, 2.5 to 2.9
      2-D, dilated, 3x3 to 7x7     depthwise 2.7 to 8.5, 1.9 to 4.7
      2-D, dilated, 11x11          fft 7, 3.3             depthwise 4.6, 3.4
      2-D, 3x3, 2 each             depthwise 5, 2.8 to 4.4
      2-D, 3x3 to 5x5, strided     depthwise 1.4 to 2.3, 1.4 to 2.5
      their input gradients        depthwise 1.8, 1.2 to 1.5; transposed layers 7.3, 8.9
      1-D, 3 to 7 taps             kn2row 5 to 11, 3.6 to 20   depthwise 5 to 7.7, 4.5 to 7.8
      1-D, 5 taps, strided         depthwise 3.2, 4.5; its input gradient 7.7, 7.1
      1-D, 15 and 31 taps          depthwise 9, 3.5 to 8.5     kn2row 4 to 7.5, 2.7 to 6.2
      1-D, 128 and 1024 taps       fft 20 to 90, 7 to 28       depthwise 9.7 to 12.7, 2.9 to 4.1
      3-D, 3x3x3                   depthwise 3.9 to 5.4, 3.6 to 4.2; input gradients of strided 14.6, 13.5
      3-D, 5x5x5                   depthwise 6.4, input gradients 1.3
    depthwise, weight gradients
      2-D, 9x9 to 31x31            fft 5.3 to 22, 2.5 to 19
      2-D, 7x7                     fft 5.3 to 5.8, 0.3
      2-D, dilated, 3x3 and 5x5    kn2row 27 to 349, 3 to 15
      2-D, dilated, 7x7 and 11x11  fft 47 to 51, 4        depthwise 5.5 to 6.1, 0.5
      2-D, transposed              kn2row 40, 11
      2-D, 3x3, 2 each             kn2row 3.4, 1.07
      1-D, 3 to 31 taps            kn2row 1.5 to 2.5, 1.9 to 7; strided 4.1, 3.4; dilated 177, 13
      1-D, 128 and 1024 taps       fft 6 to 35, 5 to 31
      3-D, 3x3x3                   dilated kn2row 39, 18; strided 2.8, 2.7; else 1
    dense and grouped, weight gradients
      1-D, dilated                 kn2row 1.4 to 43, 3 to 28
      2-D, dilated                 kn2row 1.7 to 15, 3 to 9
      3-D, dilated                 im2col 7.4, 17         kn2row 5.7, 8.4
      groups of 4, dilated         im2col 14, 3.6
      1-D, transposed              kn2row 2.5 to 19, 3.1; of 2048 terms a sum 0.9
    dense, 31x31                   fft 1.5 to 1.7, 3 to 3.4; weight gradients 5, 2.9

A rule takes what is like those: of as many axes and taps, and as many products as the shortest. With up to 13x13 taps
`packing` of float32 goes through tensor cores, whose operands have 11 bits; lax's own depthwise convolution does not.
"""

from math import prod

from ._geometry import Geometry

HALF = {"bfloat16", "float16"}
DTYPES = {"float32", *HALF}
MANY_TAPS, NOT_ROUNDED_FROM = 9 * 9, 17 * 17
VERY_MANY_TAPS = 31 * 31  # of dense layers
FEW_TAPS = 8  # up to which a product for each is the fastest of ours
LONG = 128  # taps of one axis, from which Fourier's is; it takes as long as a sum of about 100
MOST_TAPS = {2: 5 * 5, 3: 5 * 5 * 5}  # of those that cuDNN has no kernels for
MANY_PRODUCTS, SOME_PRODUCTS = 10**8, 10**7  # fewer take no longer than starting them does
MANY_TERMS = 10**4  # of a sum


def faster(geometry: Geometry) -> tuple[str, ...]:
    """The algorithms to take, the fastest first; none where XLA's own is."""
    g = geometry
    if g.dtype not in DTYPES or g.macs < SOME_PRODUCTS or not 1 <= g.ndim <= 3:
        return ()
    # The weight gradient of a filter as long as its signal has as many positions as taps.
    is_long = g.groups > 1 and g.ndim == 1 and g.in_channels > 1 and min(g.kernel[0], g.out_spatial[0]) >= LONG
    is_gradient = g.few_positions or is_long
    if g.groups == 1:
        return _for_dense_gradient(g) if is_gradient else _for_dense(g)
    if is_gradient:
        return _for_depthwise_gradient(g) if g.batch == 1 else _for_grouped_gradient(g)
    return _for_depthwise(g) if g.in_channels == 1 and g.out_channels <= 2 else ()


def _for_dense(g: Geometry) -> tuple[str, ...]:
    """Forward and input gradients."""
    return ("fft",) if g.ndim == 2 and prod(g.kernel) >= VERY_MANY_TAPS and g.macs >= MANY_PRODUCTS else ()


def _for_dense_gradient(g: Geometry) -> tuple[str, ...]:
    """Weight gradients: their taps are this convolution's positions, their dilation its stride."""
    if g.macs < MANY_PRODUCTS:
        return ()
    if _is_dilated_gradient(g):
        return ("im2col",) if g.ndim == 3 else ("kn2row",)
    if max(g.lhs_dilation) > 1:
        return ("kn2row",) if g.ndim == 1 and g.in_channels * prod(g.kernel) >= MANY_TERMS else ()
    return ("fft",) if g.ndim == 2 and prod(g.out_spatial) >= VERY_MANY_TAPS else ()


def _for_grouped_gradient(g: Geometry) -> tuple[str, ...]:
    """Weight gradients of groups of several channels."""
    return ("im2col",) if g.ndim == 2 and _is_dilated_gradient(g) else ()


def _is_dilated_gradient(g: Geometry) -> bool:
    """And not an image that is cut into patches, of which there may be fewer than pixels in one."""
    overlaps = all(size >= 2 * step for size, step in zip(g.kernel, g.strides, strict=True))
    return max(g.strides) > 1 and max(g.lhs_dilation) == 1 and overlaps


def _for_depthwise(g: Geometry) -> tuple[str, ...]:
    """Forward and input gradients."""
    taps, is_strided = prod(g.kernel), max(*g.strides, *g.lhs_dilation) > 1
    if g.ndim == 1:
        if taps <= FEW_TAPS:
            return ("depthwise",) if is_strided else ("kn2row", "depthwise")
        return ("fft", "depthwise") if taps >= LONG else ("depthwise",)
    if g.ndim == 2 and max(g.rhs_dilation) > 1:
        return ("fft", "depthwise") if taps >= MANY_TAPS else ("depthwise",)
    if g.ndim == 2 and g.out_channels == 1 and not is_strided:
        if taps < MANY_TAPS or g.macs < MANY_PRODUCTS:
            return ()
        may_be_rounded = g.dtype == "float32" and taps < NOT_ROUNDED_FROM
        return ("fft", "depthwise") if may_be_rounded else ("fft", "packing")
    return ("depthwise",) if taps <= MOST_TAPS[g.ndim] else ()


def _for_depthwise_gradient(g: Geometry) -> tuple[str, ...]:
    """Weight gradients: their taps are this convolution's positions, their dilation its stride, their stride its
    dilation. `kn2row` is only for few taps, one product for each."""
    if g.out_channels > 2:
        return ()
    taps, is_half = prod(g.out_spatial), g.dtype in HALF
    if g.ndim == 1:
        return ("kn2row", "fft")
    if _is_dilated_gradient(g) or max(g.lhs_dilation) > 1:
        return ("kn2row", "fft") if is_half or g.ndim == 3 else ("kn2row", "fft", "depthwise")
    if max(g.strides) > 1:
        return ()
    if g.ndim == 3:
        return ("kn2row",) if max(g.rhs_dilation) > 1 else ()
    if max(g.rhs_dilation) > 1:
        return ()
    if g.out_channels > 1:
        return ("kn2row",) if taps <= 3 * 3 and not is_half else ()
    return ("fft",) if taps >= (MANY_TAPS if is_half else 7 * 7) and g.macs >= MANY_PRODUCTS else ()
