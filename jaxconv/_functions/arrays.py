"""What may be given for an array."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def as_array(name: str, value: ArrayLike) -> jax.Array:
    """An array of NumPy's or of JAX's as one of JAX's; TypeError, with the argument's name, for anything else."""
    if not hasattr(value, "shape"):
        raise TypeError(f"{name} must be an array, got {value!r}")
    return jnp.asarray(value)
