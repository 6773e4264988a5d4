"""How far from the exact result each algorithm may be: the one place where tolerances are stated.

The bound is componentwise,

    |out - exact| <= c * eps * conv(|lhs|, |rhs|)

with eps the spacing of the result's type at 1 and conv the same convolution of the magnitudes. It asks more than a
bound on the norm: small results next to large ones must be right too.

For a direct sum of n products the worst case is c = n / 2, but rounding errors have no preferred sign, and c grows like
sqrt(n) (Higham, Mary: A New Approach to Probabilistic Rounding Error Analysis, SIAM J. Sci. Comput. 41, 2019). So

    c = factor * (1 + sqrt(n))

with factor 1 for a direct sum in whatever order: sums in sequence, the worst of these, stay below two thirds of that on
the demo's photograph. Complex products may be formed by three real ones instead of four, and the cancellation that
brings costs a factor of about 3 in the modulus. Types narrower than float32 are accumulated in float32 and carry one
rounding, of at most half their eps: c = 1 whatever n.
"""

from math import sqrt
from typing import Any

import jax.numpy as jnp
import numpy as np

ERROR_FACTOR: dict[str, float] = {
    "naive": 1.0,
    "im2col": 1.0,
    "depthwise": 1.0,
    "kn2row": 1.0,
    "col2im": 1.0,
    "polyphase": 1.0,
    "packing": 1.0,
    "slabs": 1.0,
    "karatsuba": 4.0,
    "winograd2": 8.0,
    "winograd4": 100.0,
    "fft": 2.0,
    "xla": 1.0,
}
COMPLEX_FACTOR = 3.0


def error_bound(dtype: Any, terms: int, factor: float = 1.0) -> float:
    """c * eps: the largest allowed |out - exact| / conv(|lhs|, |rhs|). Integers are exact: 0.

    Args:
      dtype: the result's type.
      terms: n, products in the sum of one result: taps times input channels of a group.
      factor: of the algorithm, 1 for a direct sum.

    >>> from jaxconv.testing import error_bound
    >>> error_bound("float32", terms=3 * 3 * 4) / 2**-23
    7.0
    """
    dtype = jnp.dtype(dtype)
    if not jnp.issubdtype(dtype, np.inexact):
        return 0.0
    eps = float(jnp.finfo(dtype).eps)
    if jnp.issubdtype(dtype, np.complexfloating):
        return COMPLEX_FACTOR * factor * (1 + sqrt(terms)) * eps
    return eps if dtype.itemsize < 4 else factor * (1 + sqrt(terms)) * eps
