"""What may be given for an array."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def as_array(name: str, value: ArrayLike) -> jax.Array:
    """An array of NumPy's or of JAX's as one of JAX's; TypeError, with the argument's name, for anything else."""
    check_array(name, value)
    return jnp.asarray(value)


def check_array(name: str, value: Any) -> None:
    """TypeError, with the argument's name, for what is no array."""
    if not hasattr(value, "shape"):
        raise TypeError(f"{name} must be an array, got {value!r}")
