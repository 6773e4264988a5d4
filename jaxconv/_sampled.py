"""How far some of a convolution's results are from the exact ones: for arrays too large to check them all."""

from math import prod
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ._geometry import Geometry

RESULTS = 200


def random_operands(geometry: Geometry, seed: int = 0) -> tuple[NDArray, NDArray]:
    """lhs and rhs in the caller's layouts and type: normally distributed, or small whole numbers."""
    rng, operands = np.random.default_rng(seed), []
    for shape in (geometry.lhs_layout.shape, geometry.rhs_layout.shape):
        dtype = jnp.dtype(geometry.dtype)
        if jnp.issubdtype(dtype, jnp.complexfloating):
            values = rng.standard_normal(shape, "float32") + 1j * rng.standard_normal(shape, "float32")
        elif jnp.issubdtype(dtype, jnp.floating):
            values = rng.standard_normal(shape, "float32")
        else:
            values = rng.integers(0, 2, shape, "int8")
        operands.append(values.astype(dtype))
    return operands[0], operands[1]


class Errors(NamedTuple):
    """The largest |out - exact| of some results; NaN where one is.

    Attributes:
      componentwise: in units of eps times the same sum of magnitudes; where these are all zero, in those of `normwise`.
      normwise: in units of eps times the largest such sum that there might be, as `_accuracy` has it.
    """

    componentwise: float
    normwise: float


class Sample(NamedTuple):
    """Some results of a convolution, drawn at random.

    Attributes:
      places: where each is, as [N, *S', G, O].
      exact: sums in float64 (complex128); of whole numbers, in the result's type, in which they wrap.
      magnitudes: the same sums of magnitudes.
      most: what no such sum is above, where each channel has its largest magnitude everywhere.
    """

    places: list[tuple[int, ...]]
    exact: NDArray
    magnitudes: NDArray
    most: float


def sampled(lhs: NDArray, rhs: NDArray, geometry: Geometry, seed: int = 0) -> Sample:
    """Of the operands in the caller's layouts."""
    g, rng, dtype = geometry, np.random.default_rng(seed), jnp.dtype(geometry.out_dtype)
    left, right = g.lhs_layout.whole(lhs), g.rhs_layout.whole(rhs)
    inexact = jnp.issubdtype(dtype, jnp.inexact)
    kind = np.complex128 if jnp.issubdtype(dtype, jnp.complexfloating) else np.float64
    shape = (g.batch, *g.out_spatial, g.groups, g.out_channels)
    places, sums, magnitudes = [], [], []
    for _ in range(min(RESULTS, prod(shape))):
        n, *s, group, o = place = tuple(int(rng.integers(size)) for size in shape)
        # Along each axis: the taps that meet an element, and the elements they meet.
        taps, pixels = [], []
        for i, position in enumerate(s):
            at = position * g.strides[i] + np.arange(g.kernel[i]) * g.rhs_dilation[i] - g.padding[i][0]
            met = (at >= 0) & (at % g.lhs_dilation[i] == 0) & (at // g.lhs_dilation[i] < g.spatial[i])
            taps.append(np.flatnonzero(met))
            pixels.append(at[met] // g.lhs_dilation[i])
        inputs = left[n][(*np.ix_(*pixels), group)] if s else left[n, group]
        weights = right[(*np.ix_(*taps), slice(None), group, o)] if s else right[:, group, o]
        products = inputs.astype(kind) * weights.astype(kind)
        places.append(place)
        sums.append(products.sum() if inexact else products.sum().astype("int64").astype(dtype).astype(kind))
        magnitudes.append(np.abs(products).sum())
    most = _largest_sum(left, right) if inexact else 0.0
    return Sample(places, np.array(sums, kind), np.array(magnitudes, "float64"), most or 1.0)


def errors_of(out: Any, sample: Sample, geometry: Geometry) -> Errors:
    """Of the results in the sample. Of whole numbers both are the largest difference."""
    got = geometry.out_layout.whole(np.asarray(out))
    off = np.abs(np.array([got[place] for place in sample.places], got.dtype).astype(sample.exact.dtype) - sample.exact)
    if not jnp.issubdtype(got.dtype, jnp.inexact):
        return Errors(*[float(off.max(initial=0.0))] * 2)
    eps = float(jnp.finfo(got.dtype).eps)
    worst = (off / (eps * np.where(sample.magnitudes, sample.magnitudes, sample.most))).max(initial=0.0)
    return Errors(float(worst), float((off / (eps * sample.most)).max(initial=0.0)))


def _largest_sum(left: NDArray, right: NDArray) -> float:
    """What no sum of magnitudes is above, where each channel has its largest one everywhere."""
    *kernel, _, _, _ = right.shape
    inputs = np.abs(left).max(tuple(range(left.ndim - 2)), initial=0).astype("float64")
    weights = np.abs(right).max(tuple(range(len(kernel))), initial=0).astype("float64")
    return prod(kernel) * float(np.einsum("gc,cgo->go", inputs, weights).max(initial=0))
