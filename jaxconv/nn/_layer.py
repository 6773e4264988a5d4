"""What all layers do alike: print themselves, and say who they are when an input does not fit."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from ._arguments import LAYOUTS

STATIC = {"static": True}  # marks fields that are part of the program, not parameters


class Layer:
    """Base of the layers, which are frozen dataclasses, and pytrees with their arrays as leaves.

    Two layers are equal if they are the same object; their leaves can be compared by value.
    """

    layout: str

    def __repr__(self) -> str:
        fields: tuple[dataclasses.Field, ...] = dataclasses.fields(self)  # pyright: ignore[reportArgumentType]
        told = ", ".join(f"{field.name}={_told(getattr(self, field.name))}" for field in fields)
        return f"{type(self).__name__}({told})"


@contextmanager
def reading(layer: Layer, x: jax.Array, channels: int) -> Iterator[None]:
    """A context to apply a layer to x in.

    Raises:
      ValueError: unless x has so many channels.
      TypeError, ValueError: what is raised inside, with a note that tells the layer and x.
    """
    try:
        rank, ndim = np.ndim(x), LAYOUTS[layer.layout]
        axis = layer.layout.index("C") - (ndim + 2)
        if rank in (ndim + 1, ndim + 2) and np.shape(x)[axis] != channels:  # of other ranks the convolution tells
            raise ValueError(f"{type(layer).__name__} x must have {channels} channels, got {np.shape(x)[axis]}")
        yield
    except (TypeError, ValueError) as error:
        error.add_note(f"{layer} was applied to x of {layer.layout}: {_told(x)}")
        raise


def _told(value: Any) -> str:
    """Arrays by type and shape."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    return repr(value)
