"""Discrete Fourier transforms along the first axis, real and imaginary part apart.

Up to a few hundred places the transform is fastest as a product with its own matrix. That one is exact about places and
frequencies that nobody asks for (padding, dilation, strides): they have no row in it, or no column. Longer ones take
the fast transform (Cooley, Tukey 1965).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ._geometry import dilated

LONGEST_MATRIX = 256  # of the transforms that are products with a matrix; one twice as long gains nothing over an FFT


def parts(values: np.ndarray) -> np.ndarray:
    """[2, n, 2, m] that multiplies (real, imaginary) by the complex [n, m]."""
    real, imaginary = np.real(values), np.imag(values)
    return np.array([[real, imaginary], [-imaginary, real]]).transpose(0, 2, 1, 3)


def waves(length: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """e(row * column), its angles in more digits than float64 has, where there are such."""
    turns = (np.outer(rows, columns) % length).astype(np.longdouble) / length
    angles = turns * (8 * np.arctan(np.longdouble(1)))
    return np.cos(angles).astype(np.float64) + 1j * np.sin(angles).astype(np.float64)


def product(matrix: np.ndarray, x: jax.Array) -> jax.Array:
    """[A, m, ...] from [a, n, A, m] and [a, n, ...]."""
    a, n, *shape = matrix.shape
    flat = jnp.asarray(matrix.reshape(a * n, -1), x.dtype)
    out = lax.dot_general(flat, x.reshape(a * n, -1), (((0,), (0,)), ((), ())), precision=lax.Precision.HIGHEST)
    return out.reshape(*shape, *x.shape[2:])


def forward(x: jax.Array, length: int, first: int, step: int, sign: int) -> jax.Array:
    """[2, frequencies, ...] from [1 (real) or 2, n, ...], element i of which is at `first + step * i`."""
    count = x.shape[1]
    frequencies = length // 2 + 1 if x.shape[0] == 1 else length
    if length <= LONGEST_MATRIX:
        values = waves(length, first + step * np.arange(count), sign * np.arange(frequencies))
        return product(parts(values)[: x.shape[0]], x)
    config = [(first, length - first - dilated(count, step), step - 1)] + [(0, 0, 0)] * (x.ndim - 2)
    real, imaginary = (lax.pad(x[i], jnp.zeros((), x.dtype), config) for i in (0, -1))
    if x.shape[0] == 1:
        found = jnp.fft.rfft(real, axis=0)
        return jnp.stack([found.real, -sign * found.imag])
    found = jnp.fft.fft(lax.complex(real, -sign * imaginary), axis=0)  # sign 1: the conjugate's, conjugated
    return jnp.stack([found.real, -sign * found.imag])


def backward(x: jax.Array, length: int, outputs: int, stride: int, real: bool) -> jax.Array:
    """[1 (real) or 2, outputs, ...] from [2, frequencies, ...]."""
    frequencies = x.shape[1]
    if length <= LONGEST_MATRIX:
        twice = [1 + (real and 0 < 2 * f < length) for f in range(frequencies)]
        values = waves(length, np.arange(frequencies), stride * np.arange(outputs)) * np.array(twice)[:, None] / length
        return product(parts(values)[:, :, : 1 if real else 2], x)
    found = lax.complex(x[0], x[1])
    found = jnp.fft.irfft(found, length, axis=0) if real else jnp.fft.ifft(found, axis=0)
    found = lax.slice_in_dim(found, 0, (outputs - 1) * stride + 1, stride)
    return found[None] if real else jnp.stack([found.real, found.imag])
