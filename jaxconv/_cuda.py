"""What cuDNN, XLA's own convolution on a GPU, was measured to be slow at, and what to take instead.

On an H200 (jax 0.11.2, `benchmarks/gpu.json`) it is the fastest for most layers, or nearly. For two kinds it is not, by
factors that no noise explains; a rule for each takes what is at least as far from the usual as the layer measured:

    depthwise, 16x64x64, 64 channels, 31x31 taps       fft 18 to 22 times as fast, packing 4 to 8; weight gradients
                                                       by fft 11 (float32) and 19 (bfloat16)
    weight gradient, 32x4096, 64 -> 128 channels, 2 taps 4 apart       kn2row 39 (float32) and 15 (bfloat16)
"""

from math import prod

from ._geometry import Geometry

DTYPES = {"float32", "bfloat16"}
MANY_TAPS = 31 * 31


def faster(geometry: Geometry) -> tuple[str, ...]:
    """The algorithms to take, the fastest first; none where XLA's own is."""
    g = geometry
    if g.dtype not in DTYPES or max(g.lhs_dilation, default=1) > 1:
        return ()
    if g.few_positions and g.groups == 1:
        return ("kn2row",) if g.ndim == 1 and g.strides[0] > 1 else ()
    is_plain = g.groups > 1 and {*g.strides, *g.rhs_dilation} == {1}
    if is_plain and g.few_positions and g.out_channels == 1 and prod(g.out_spatial) >= MANY_TAPS:
        return ("fft",)
    if is_plain and not g.few_positions and g.in_channels == 1 and prod(g.kernel) >= MANY_TAPS:
        return ("fft", "packing")
    return ()
