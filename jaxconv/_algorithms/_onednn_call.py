"""The custom call by which XLA:CPU runs a convolution by oneDNN, on its own threads.

XLA makes such calls itself only where an experimental flag asks for them; a program may hold one all the same. The
call's configuration is JSON: where the arrays have their axes, strides, padding, dilation, groups
(`xla/service/cpu/onednn_config.proto`). What oneDNN does not take ends the process: `_onednn` has the door.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from math import prod

import jax
import jax.numpy as jnp

from .._geometry import Geometry, with_axis

TARGET = "__onednn$convolution"
TALLEST = 64  # taps along the first of two axes; with one input channel oneDNN cannot make code for some hundreds


def call(lhs: jax.Array, rhs: jax.Array, geometry: Geometry) -> jax.Array:
    """The custom call, with an axis of one element more where oneDNN's kernels ask for it."""
    g = geometry
    is_tall = g.groups == 1 and g.in_channels == 1 and g.ndim == 2 and g.kernel[0] > TALLEST
    if not is_tall and not (is_depthwise(g) and g.ndim == 1):
        return _call_as_it_is(lhs, rhs, g)
    numbers = g.dimension_numbers
    wider = replace(
        with_axis(g, 0),
        dimension_numbers=jax.lax.ConvDimensionNumbers(
            _with_an_axis(numbers.lhs_spec), _with_an_axis(numbers.rhs_spec), _with_an_axis(numbers.out_spec)
        ),
    )
    out = _call_as_it_is(jnp.expand_dims(lhs, numbers.lhs_spec[2]), jnp.expand_dims(rhs, numbers.rhs_spec[2]), wider)
    return out.squeeze(numbers.out_spec[2])


def _with_an_axis(spec: Sequence[int]) -> tuple[int, ...]:
    """One more spatial axis, stored ahead of the first."""
    first = spec[2]
    batch, feature, *space = (axis + (axis >= first) for axis in spec)
    return batch, feature, first, *space


def leaves_half_a_pair(geometry: Geometry) -> bool:
    """Whether it takes an input channel together with the next pixel's first one, that times zero: an infinity or NaN
    there would make NaN of it. Of bfloat16 oneDNN multiplies channels in pairs."""
    return geometry.dtype == "bfloat16" and geometry.in_channels % 2 == 1


def bytes_of_pairs(geometry: Geometry) -> int:
    """Of both operands with one input channel of zeros more, if that is what is handed over."""
    g = geometry
    elements = g.batch * prod(g.spatial) + prod(g.kernel) * g.out_channels
    return leaves_half_a_pair(g) * elements * (g.in_channels + 1) * jnp.dtype(g.dtype).itemsize


def _call_as_it_is(lhs: jax.Array, rhs: jax.Array, geometry: Geometry) -> jax.Array:
    g, rank, numbers = geometry, geometry.ndim + 2, geometry.dimension_numbers
    if leaves_half_a_pair(g):
        lhs, rhs = _with_zeros(lhs, numbers.lhs_spec[1]), _with_zeros(rhs, numbers.rhs_spec[1])
    for at, size, (low, high) in zip(numbers.lhs_spec[2:], g.spatial, g.padding, strict=True):
        lhs = jax.lax.slice_in_dim(lhs, max(-low, 0), size - max(-high, 0), axis=at)  # oneDNN pads but does not crop

    def image(spec):
        return {"dims": rank, "data": {"batch_dim": spec[0], "feature_dim": spec[1], "spatial_dims": spec[2:]}}

    outputs, inputs, *space = numbers.rhs_spec
    kernel = {"output_feature_dim": outputs, "input_feature_dim": inputs, "spatial_dims": space}
    config = {
        "dims": rank,
        "input": image(numbers.lhs_spec),
        "kernel": {"dims": rank, "filter": kernel},
        "output": image(numbers.out_spec),
        "window": {
            "pad_left": [max(low, 0) for low, _ in g.padding],
            "pad_right": [max(high, 0) for _, high in g.padding],
            "strides": g.strides,
            "window_dilations": dilation(g),
        },
        "feature_groups": g.groups,
    }
    made = jax.ffi.ffi_call(
        TARGET,
        jax.ShapeDtypeStruct(g.out_layout.shape, g.out_dtype),
        custom_call_api_version=1,
        legacy_backend_config=json.dumps({"onednn_conv_config": config}),
    )
    return made(lhs, rhs)


def _with_zeros(operand: jax.Array, axis: int) -> jax.Array:
    """One element more at the end of the axis."""
    return jnp.pad(operand, [(0, int(at == axis)) for at in range(operand.ndim)])


def is_depthwise(geometry: Geometry) -> bool:
    """Whether its groups have one input and one output channel."""
    return geometry.groups > 1 and geometry.in_channels == geometry.out_channels == 1


def dilation(geometry: Geometry) -> list[int]:
    """Along each axis; of a single tap none."""
    return [gap if taps > 1 else 1 for taps, gap in zip(geometry.kernel, geometry.rhs_dilation, strict=True)]
