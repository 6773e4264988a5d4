"""What fast bilinear algorithms share: sums of arrays with small matrices of factors, before and after the products.

The arrays are kept apart, in a dictionary from their place along each spatial axis, so that sums are fused and each
product is one of plain matrices or a plain convolution.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

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
