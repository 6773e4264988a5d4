"""What may be given for an array."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._parameters import check_array


def as_array(name: str, value: ArrayLike) -> jax.Array:
    """An array of NumPy's or of JAX's as one of JAX's; TypeError, with the argument's name, for anything else."""
    check_array(name, value)
    return jnp.asarray(value)
