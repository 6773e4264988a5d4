"""How far from the exact result each algorithm may be: the one place where tolerances are stated.

The bound is componentwise,

    |out - exact| <= c * eps * conv(|lhs|, |rhs|)

with eps the spacing of the result's type at 1 and conv the same convolution of the magnitudes. It asks more than a
bound on the norm: small results next to large ones must be right too.

Why a constant c: a direct sum of n products in working precision has |error| <= n * eps / 2 * conv(|lhs|, |rhs|) in the
worst case (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), and rounding errors of random sign
grow like sqrt(n). Compilers sum in blocks, which is better again. For sums of up to some thousands of terms c = 8 is
far from what right programs do (1 to 2 is typical) and far below any wrong one. Types narrower than float32 are
accumulated in float32, so they carry one rounding, of at most eps / 2 of the result: c = 1. Complex products may be
formed by three real ones instead of four; the cancellation this brings is bounded by a factor of about 3 in the modulus.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

DIRECT = {"half": 1.0, "real": 8.0, "complex": 24.0}

ERROR_FACTOR: dict[str, dict[str, float]] = {
    "naive": DIRECT,
    "im2col": DIRECT,
    "xla": DIRECT,
}


def error_bound(algorithm: str, dtype: Any) -> float:
    """c * eps for results of this type: the largest allowed |out - exact| / conv(|lhs|, |rhs|). Integers: 0.

    Args:
      algorithm: a name in `jaxconv.ALGORITHMS`.
      dtype: the result's type.
    """
    if not jnp.issubdtype(dtype, np.inexact):
        return 0.0
    dtype = jnp.dtype(dtype)
    if jnp.issubdtype(dtype, np.complexfloating):
        kind = "complex"
    else:
        kind = "half" if dtype.itemsize < 4 else "real"
    return ERROR_FACTOR[algorithm][kind] * float(jnp.finfo(dtype).eps)
