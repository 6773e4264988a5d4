"""Convolution and correlation as signal processing has them: two arrays, no batch, no channels."""

from collections.abc import Sequence
from math import prod
from typing import Unpack

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._conv import conv_general_dilated
from .arrays import as_array
from .options import Options, check_options

MODES = ("full", "same", "valid")


def convolve(in1: ArrayLike, in2: ArrayLike, mode: str = "full", **options: Unpack[Options]) -> jax.Array:
    """N-dimensional convolution, one array turned over: `scipy.signal.convolve`, and `jnp.convolve` in n dimensions.

        out[k] = sum over j of  in1[j] * in2[k - j]

    Args:
      in1: rank n (0 is allowed), no axis empty.
      in2: rank n, likewise. Of two types the result has the one that JAX promotes them to.
      mode: "full": wherever they overlap, in1.shape + in2.shape - 1. "same": of that the middle, in the shape of `in1`
        (`np.convolve` takes the shape of the longer one). "valid": where the smaller lies inside the larger one,
        larger - smaller + 1; either may be the smaller, but along all axes.
      options: as in `conv_general_dilated`: precision, preferred_element_type, algorithm, accuracy,
        max_workspace_bytes. Where both arrays are long, `algorithm="fft"` takes far fewer operations; its error is
        small next to the largest results only.

    Returns:
      Rank n. Integers are exact, modulo their range (`jnp.convolve` makes floats of them); of bools, whether any pair
      is true.

    Raises:
      ValueError: for another mode, for ranks that differ, for an empty axis, and if neither array is the smaller one
        along all axes in mode "valid".
      TypeError: for what is not an array.
      TypeError, ValueError: whatever `conv_general_dilated` raises for the options.

    >>> import jax.numpy as jnp, jaxconv
    >>> jaxconv.convolve(jnp.array([1, 2, 3]), jnp.array([1, 10])).tolist()
    [1, 12, 23, 30]
    >>> jaxconv.convolve(jnp.ones((5, 5)), jnp.ones((3, 3)), "same")[0].tolist()
    [4.0, 6.0, 6.0, 6.0, 4.0]
    """
    in1, in2 = _operands("convolve", in1, in2, mode)
    return _convolved("convolve", in1, in2, mode, options)


def correlate(in1: ArrayLike, in2: ArrayLike, mode: str = "full", **options: Unpack[Options]) -> jax.Array:
    """N-dimensional cross-correlation, the second array conjugated: `scipy.signal.correlate`.

        out[k] = sum over j of  in1[j + k - (in2.shape - 1)] * conj(in2[j])

    In mode "full", k counts from 0; "same" and "valid" cut as in `convolve`. Where `np.correlate` and `jnp.correlate`
    have "valid" as the default mode, SciPy and this have "full".

    Arguments, result and errors as in `convolve`.

    >>> import jax.numpy as jnp, jaxconv
    >>> jaxconv.correlate(jnp.array([1, 2, 3]), jnp.array([0, 1, 10]), "same").tolist()
    [21, 32, 3]
    >>> jaxconv.correlate(jnp.array([1j, 2]), jnp.array([1j]), "valid").tolist()
    [(1+0j), -2j]
    """
    in1, in2 = _operands("correlate", in1, in2, mode)
    return _convolved("correlate", in1, jnp.flip(jnp.conj(in2)), mode, options)


def _operands(name: str, in1: ArrayLike, in2: ArrayLike, mode: str) -> tuple[jax.Array, jax.Array]:
    """Both as arrays of one type, a weak one where JAX's promotion gives that."""
    if mode not in MODES:
        raise ValueError(f"{name} mode must be one of {', '.join(map(repr, MODES))}, got {mode!r}")
    in1, in2 = as_array(f"{name} in1", in1), as_array(f"{name} in2", in2)
    if in1.dtype != in2.dtype:
        in1, in2 = _promoted(in1, in2), _promoted(in2, in1)
    if in1.ndim != in2.ndim:
        raise ValueError(f"{name} inputs must have the same rank, got shapes {in1.shape} and {in2.shape}")
    if 0 in (*in1.shape, *in2.shape):
        raise ValueError(f"{name} inputs must not be empty, got shapes {in1.shape} and {in2.shape}")
    return in1, in2


def _promoted(array: jax.Array, other: jax.Array) -> jax.Array:
    """The array in the type of both: what is selected among two has it, and only so it may be weak."""
    return jnp.where(True, array, jnp.zeros_like(other, shape=()))


def _convolved(name: str, in1: jax.Array, in2: jax.Array, mode: str, options: Options) -> jax.Array:
    check_options(name, options)
    start, stop = _cut(name, in1.shape, in2.shape, mode)
    signal, taps = (in1, in2) if prod(in1.shape) >= prod(in2.shape) else (in2, in1)  # they may be exchanged
    # Padded by taps - 1 on both sides, lax's convolution is the full one, from 0 to signal + taps - 1.
    padding = [
        (size - 1 - low, high - length)
        for size, length, low, high in zip(taps.shape, signal.shape, start, stop, strict=True)
    ]
    strides = (1,) * signal.ndim
    return conv_general_dilated(signal[None, None], jnp.flip(taps)[None, None], strides, padding, **options)[0, 0]


def _cut(name: str, one: Sequence[int], two: Sequence[int], mode: str) -> tuple[list[int], list[int]]:
    """Which part of the full convolution is wanted: where it starts and stops along each axis."""
    pairs = list(zip(one, two, strict=True))
    if mode == "full":
        return [0] * len(pairs), [a + b - 1 for a, b in pairs]
    if mode == "same":
        return [(b - 1) // 2 for _, b in pairs], [(b - 1) // 2 + a for a, b in pairs]
    if any(a < b for a, b in pairs) and any(a > b for a, b in pairs):
        raise ValueError(
            f"{name} mode 'valid' needs one input at least as large as the other along every axis, got shapes "
            f"{tuple(one)} and {tuple(two)}"
        )
    return [min(pair) - 1 for pair in pairs], [max(pair) for pair in pairs]
