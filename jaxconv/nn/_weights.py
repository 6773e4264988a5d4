"""What imports of weights do alike."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ._layer import Layer

L = TypeVar("L", bound=Layer)


def read_weights(
    function: str, layer: L, weights: Mapping[str, Any], export: Callable[[L], dict[str, NDArray]]
) -> dict[str, NDArray]:
    """The weights as NumPy arrays, which may share memory with what they came from.

    Raises:
      ValueError: unless names and shapes are those of `export(layer)`.
    """
    given = {name: _array(value) for name, value in weights.items() if value is not None}
    stand_in = jax.tree.map(lambda array: np.broadcast_to(np.zeros((), array.dtype), array.shape), layer)  # no memory
    shapes, wanted = ({name: array.shape for name, array in state.items()} for state in (given, export(stand_in)))
    if shapes != wanted:
        raise ValueError(f"{function} for {layer} takes arrays of the shapes {wanted}, got {shapes}")
    return given


def check_kind(function: str, layer: Any, *kinds: type[Layer]) -> None:
    """TypeError unless the layer is of one of these kinds."""
    if not isinstance(layer, kinds):
        *names, last = (kind.__name__ for kind in kinds)
        raise TypeError(f"{function} takes a {', '.join(names)} or {last}, got {layer!r}")


def _array(value: Any) -> NDArray:
    """An array, or a tensor of PyTorch."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if "bfloat16" in str(value.dtype):  # float32 contains it, and NumPy alone does not know it
            return np.asarray(value.float()).astype(jnp.bfloat16)
    return np.asarray(value)
