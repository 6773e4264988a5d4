"""How far from the exact result each algorithm may be: the one place where tolerances are stated.

The bound is componentwise,

    |out - exact| <= c * eps * conv(|lhs|, |rhs|)

with eps the spacing of the result's type at 1 and conv the same convolution of the magnitudes. It asks more than a
bound on the norm: small results next to large ones must be right too.

For a direct sum of n products the worst case is c = n / 2, but rounding errors have no preferred sign, and c grows like
sqrt(n) (Higham, Mary: A New Approach to Probabilistic Rounding Error Analysis, SIAM J. Sci. Comput. 41, 2019). They
have one where the same product is added over and over: of data that are the same everywhere nothing less than the worst
case holds, for lax's own sums either. Of others,

    c = factor * (1 + sqrt(n))

with factor 1 for a direct sum in whatever order: sums in sequence, the worst of these, stay below two thirds of that on
the demo's photograph. Complex products may be formed by three real ones instead of four, and the cancellation that
brings costs a factor of about 3 in the modulus. Types narrower than float32 are accumulated in float32 and carry one
rounding, of at most half their eps. The other half leaves room for the errors of the float32 sum, and suffices but for
millions of products or factors of thousands:

    c * eps = max(eps, eps / 2 + factor * (1 + sqrt(n)) * eps of float32)

Algorithms in NORMWISE add and subtract neighbouring inputs, and taps, before they multiply. What they form and cancel
again is as large as the neighbours: the error of Winograd's y0 = d0 g0 + d1 g1 + d2 g2 has terms such as |d1 g0|, which
conv(|lhs|, |rhs|) does not have. No c bounds that for all data, so they promise

    |out - exact| <= c * eps * max over the image and channel of conv(largest |lhs|, largest |rhs|)

where each channel of each operand has its largest magnitude at all positions, or taps. The largest of
conv(|lhs|, |rhs|) would not do: a single output may be small by chance when nothing near it is.

F(2, 3) mixes nothing outside the window of an output, and does stay within the componentwise bound, with factor 1,
where sums over 8 channels or more even out random data: at 1 channel one in a hundred images of a single pixel is over
8 times that, and neighbours of very different size are at any number of channels. F(4, 3) is not even there.
`benchmarks/accuracy.py` measures both for every algorithm; the factors here leave a margin of about 2, of a fifth for
data that hurt most. Nothing is promised of results that are too small for their type.
"""

from math import sqrt
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

ERROR_FACTOR: dict[str, float] = {
    "naive": 1.0,
    "im2col": 1.0,
    "depthwise": 1.0,
    "kn2row": 1.0,
    "col2im": 1.0,
    "polyphase": 1.0,
    "packing": 1.0,
    "slabs": 1.0,
    "strips": 1.0,
    "karatsuba": 4.0,
    "winograd2": 1.5,
    "winograd4": 25.0,
    "fft": 3.0,
    "onednn": 1.0,
    "xla": 1.0,
}
NORMWISE = frozenset({"karatsuba", "winograd2", "winograd4", "fft"})  # judged by the second bound above
# What a caller may ask for. An error of F(4, 3) is an order of magnitude above that of a direct sum, one of a Fourier
# transform reaches results far away. Packing adds zeros times what other groups have, strips may add some times what is
# beside a patch: infinities among that make NaN.
ACCURACIES: dict[str, frozenset[str]] = {
    "strict": frozenset(ERROR_FACTOR) - NORMWISE - {"packing", "strips"},
    "default": frozenset(ERROR_FACTOR) - {"winograd4", "fft"},
    "fast": frozenset(ERROR_FACTOR),
}
COMPLEX_FACTOR = 3.0


def largest(magnitudes: NDArray, axes: tuple[int, ...]) -> NDArray:
    """Everywhere along the axes, an operand's spatial ones, the largest value along them: for bounds by the norm."""
    return np.broadcast_to(magnitudes.max(axes, keepdims=True, initial=0), magnitudes.shape)


def error_bound(dtype: Any, terms: int, factor: float = 1.0) -> float:
    """c * eps: the largest allowed |out - exact|, in units of what either bound has behind it. Integers are exact: 0.

    Args:
      dtype: the result's type.
      terms: n, products in the sum of one result: taps times input channels of a group.
      factor: of the algorithm, 1 for a direct sum. For a type narrower than float32 it is that of the sum in float32
        before the rounding, and changes little until it is large: to judge sums that are kept in bfloat16 itself, make
        it 2**16, the eps of bfloat16 over that of float32, and 2**13 for float16.

    >>> from jaxconv.testing import error_bound
    >>> error_bound("float32", terms=3 * 3 * 4) / 2**-23
    7.0
    >>> [error_bound("bfloat16", terms=3 * 3 * 4, factor=factor) / 2**-7 for factor in (1, 10, 2**16)]
    [1.0, 1.0, 7.5]
    """
    dtype = jnp.dtype(dtype)
    if not jnp.issubdtype(dtype, np.inexact):
        return 0.0
    eps = float(jnp.finfo(dtype).eps)
    if dtype.itemsize < 4:
        return max(eps, eps / 2 + error_bound("float32", terms, factor))
    kind = COMPLEX_FACTOR if jnp.issubdtype(dtype, np.complexfloating) else 1.0
    return kind * factor * (1 + sqrt(terms)) * eps
