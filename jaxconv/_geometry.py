"""One value that says which convolution is meant: sizes, strides, padding, dilations, groups, types, layouts.

Every algorithm computes the same bilinear map, written once in canonical form:

    lhs [N, *S, G, C]    rhs [*K, C, G, O]    out [N, *S', G, O]

    out[n, s, g, o] = sum over k, c of  dilated_and_padded_lhs[n, stride*s + rhs_dilation*k, g, c] * rhs[k, c, g, o]

Feature groups and batch groups are the same thing here. Both mean "G independent convolutions"; they differ only in
which of the caller's axes hides the group: lax keeps it as the slower part of the feature axis for feature groups and
of the batch axis for batch groups. `Layout` knows where, so no algorithm has to.
"""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ._layout import Layout, place


@dataclass(frozen=True)
class Geometry:
    """A convolution problem in canonical form, with the layouts it came in. Frozen, hashable, independent of values.

    Attributes:
      batch: N, images in one batch group.
      spatial: S, input extent along each spatial axis.
      groups: G, feature groups or batch groups.
      in_channels: C, input channels in one group.
      kernel: K, taps along each spatial axis.
      out_channels: O, output channels in one group.
      strides, lhs_dilation, rhs_dilation: one positive integer for each spatial axis.
      padding: (low, high) for each spatial axis, counted on the dilated input; negative values crop.
      dtype: name of the operands' type.
      precision, preferred_element_type: as lax keeps them after normalising, and goes by them.
      dimension_numbers: lax's `ConvDimensionNumbers`.
      batch_grouped: whether G counts batch groups (otherwise feature groups).
    """

    batch: int
    spatial: tuple[int, ...]
    groups: int
    in_channels: int
    kernel: tuple[int, ...]
    out_channels: int
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    dtype: str
    precision: Any
    preferred_element_type: str | None
    dimension_numbers: lax.ConvDimensionNumbers
    batch_grouped: bool

    @property
    def is_symbolic(self) -> bool:
        """Whether a size is an expression rather than a number, as under `jax.export.symbolic_shape`."""
        sizes = (self.batch, *self.spatial, self.groups, self.in_channels, *self.kernel, self.out_channels)
        return not all(isinstance(size, int) for size in (*sizes, *(side for pair in self.padding for side in pair)))

    @property
    def out_dtype(self) -> str:
        """Name of the result's type: `preferred_element_type`, or `dtype` where none was given."""
        return self.preferred_element_type or self.dtype

    def describe(self) -> str:
        """In a few words: images and input extent, channels of a group, taps; and what is not the usual."""

        def joined(values: tuple[int, ...]) -> str:
            return f"{values[0]}" if len(set(values)) == 1 else "x".join(map(str, values))

        words = [
            "x".join(map(str, (self.batch, *self.spatial))),
            f"{self.in_channels}->{self.out_channels}",
            f"groups {self.groups}" if self.groups > 1 else "",
            "x".join(map(str, self.kernel)),
            f"stride {joined(self.strides)}" if set(self.strides) - {1} else "",
            f"dilated {joined(self.rhs_dilation)}" if set(self.rhs_dilation) - {1} else "",
            f"up {joined(self.lhs_dilation)}" if set(self.lhs_dilation) - {1} else "",
            self.dtype if self.dtype != "float32" else "",
        ]
        return " ".join(filter(None, words))

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel)

    @cached_property
    def out_spatial(self) -> tuple[int, ...]:
        """S', output extent along each spatial axis."""
        return tuple(
            max(0, (dilated(size, grow) + low + high - dilated(taps, spread)) // stride + 1)
            for size, grow, (low, high), taps, spread, stride in zip(
                self.spatial,
                self.lhs_dilation,
                self.padding,
                self.kernel,
                self.rhs_dilation,
                self.strides,
                strict=True,
            )
        )

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to add up: no result, or only results that are sums of padding."""
        return 0 in (self.macs, *self.lhs_layout.shape, *self.rhs_layout.shape)

    @property
    def few_positions(self) -> bool:
        """Whether there are fewer output positions than taps, as in weight gradients: rhs is the large operand."""
        return prod(self.out_spatial) < prod(self.kernel)

    @property
    def macs(self) -> int:
        """Multiply-adds of the direct sum, products with padding and dilation zeros included."""
        outputs = self.batch * prod(self.out_spatial) * self.groups * self.out_channels
        return outputs * prod(self.kernel) * self.in_channels

    @property
    def accumulator(self) -> np.dtype:
        """The type sums are kept in: float32 for narrower floats, int32 for narrower integers, else the result's.

        Integers wrap modulo a power of two, so a wider accumulator changes nothing but speed; a bool result is true
        where any product is.
        """
        out = jnp.dtype(self.out_dtype)
        if out.kind == "b":
            return np.dtype(np.int32)
        for kind, wide in (
            (np.floating, np.float32),
            (np.signedinteger, np.int32),
            (np.unsignedinteger, np.uint32),
        ):
            if jnp.issubdtype(out, kind) and out.itemsize < np.dtype(wide).itemsize:
                return np.dtype(wide)
        return out

    @cached_property
    def lhs_layout(self) -> Layout:
        """lhs [N, *S, G, C] in the caller's array."""
        space = _numbered(self.spatial)
        sizes = {"n": self.batch, **space, "g": self.groups, "c": self.in_channels}
        grouped = [["g", "n"], ["c"]] if self.batch_grouped else [["n"], ["g", "c"]]
        return place(self.dimension_numbers.lhs_spec, [*grouped, *([name] for name in space)], sizes)

    @cached_property
    def rhs_layout(self) -> Layout:
        """rhs [*K, C, G, O] in the caller's array."""
        space = _numbered(self.kernel)
        sizes = {**space, "c": self.in_channels, "g": self.groups, "o": self.out_channels}
        return place(self.dimension_numbers.rhs_spec, [["g", "o"], ["c"], *([name] for name in space)], sizes)

    @cached_property
    def out_layout(self) -> Layout:
        """out [N, *S', G, O] in the caller's array."""
        space = _numbered(self.out_spatial)
        sizes = {"n": self.batch, **space, "g": self.groups, "o": self.out_channels}
        return place(self.dimension_numbers.out_spec, [["n"], ["g", "o"], *([name] for name in space)], sizes)


def _numbered(sizes: tuple[int, ...]) -> dict[str, int]:
    return {f"axis {i}": size for i, size in enumerate(sizes)}


BY_AXIS = ("spatial", "kernel", "strides", "padding", "lhs_dilation", "rhs_dilation")  # what has an entry for each


def with_axis(geometry: Geometry, place: int, size: int = 1) -> Geometry:
    """The same convolution with one more spatial axis, of one tap, in front of axis `place`. Where arrays have it the
    caller says: the dimension numbers are as they were."""
    new = {"spatial": size, "padding": (0, 0)}
    values = {name: getattr(geometry, name) for name in BY_AXIS}
    grown = {name: (*old[:place], new.get(name, 1), *old[place:]) for name, old in values.items()}
    return dataclasses.replace(geometry, **grown)


def without_axis(geometry: Geometry) -> Geometry:
    """The same convolution along all spatial axes but the first. The dimension numbers are as they were."""
    return dataclasses.replace(geometry, **{name: getattr(geometry, name)[1:] for name in BY_AXIS})


def ceil_div(whole: int, part: int) -> int:
    """How many blocks of size `part` cover `whole`."""
    return -(-whole // part)


def dilated(size: int, dilation: int) -> int:
    """Extent of `size` elements with `dilation - 1` gaps between neighbours."""
    return 0 if size == 0 else (size - 1) * dilation + 1
