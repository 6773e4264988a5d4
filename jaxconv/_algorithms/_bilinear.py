"""What fast bilinear algorithms share: sums of arrays with small matrices of factors, before and after the products.

The arrays are kept apart, in a dictionary from their place along each spatial axis, so that sums are fused and each
product is one of plain matrices or a plain convolution.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Matrix = list[list[float]]
Place = tuple[int, ...]


def combine(matrix: Matrix, terms: list[Any]) -> list[jax.Array]:
    """Matrix times vector, the vector's elements being arrays: additions, few of them times a constant."""
    rows = []
    for row in matrix:
        total = None
        for factor, term in zip(row, terms, strict=True):
            if factor and total is None:
                total = term if factor == 1 else -term if factor == -1 else factor * term
            elif factor:
                total = total + term if factor == 1 else total - term if factor == -1 else total + factor * term
        rows.append(total)
    return rows


def along(matrix: Matrix, values: dict[Place, jax.Array], axis: int) -> dict[Place, jax.Array]:
    """`combine` along one of the axes that index the values."""
    found = {}
    for place in {(*key[:axis], 0, *key[axis + 1 :]): None for key in values}:
        terms = [values[(*place[:axis], i, *place[axis + 1 :])] for i in range(len(matrix[0]))]
        for i, row in enumerate(combine(matrix, terms)):
            found[(*place[:axis], i, *place[axis + 1 :])] = row
    return found


def transformed(
    matrix: Matrix, array: jax.Array, ndim: int, axes: Mapping[int, int], step: int, counts: Sequence[int], dtype: Any
) -> dict[Place, jax.Array]:
    """The matrix along each spatial axis in `axes`, times windows of the array: every `step`th element from each of the
    first places on, as many places as the matrix has columns and `counts` (by spatial axis) elements, in `dtype`.

    `axes` tells where in the array each of them is; along the others there is but one place, and all elements.
    """
    values = {}
    for place in product(*(range(len(matrix[0])) if axis in axes else (0,) for axis in range(ndim))):
        window = array
        for axis, at in axes.items():
            stop = place[axis] + (counts[axis] - 1) * step + 1
            window = lax.slice_in_dim(window, place[axis], stop, step, at)
        values[place] = window.astype(dtype)
    for axis in axes:
        values = along(matrix, values, axis)
    return values


def interleaved(values: dict[Place, jax.Array], ndim: int, axes: Mapping[int, int], count: int) -> jax.Array:
    """One array of all: elements of the `count` values along each spatial axis in `axes` take turns.

    `axes` tells where in the arrays each of them is; along the others there is but one value.
    """

    def woven(place: Place) -> jax.Array:
        axis = len(place)
        if axis == ndim:
            return values[place]
        if axis not in axes:
            return woven((*place, 0))
        at = axes[axis]
        parts = jnp.stack([woven((*place, i)) for i in range(count)], at + 1)
        return parts.reshape(*parts.shape[:at], -1, *parts.shape[at + 2 :])

    return woven(())
