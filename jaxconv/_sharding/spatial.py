"""A convolution whose spatial axes are split over manual mesh axes, by name."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .._parameters import geometry_of
from .factors import Axes
from .halo import AxisName, in_mesh_order
from .shard import convolve_shard


def convolve_spatial_shard(
    convolve: Callable[..., jax.Array],
    lhs: Any,
    rhs: Any,
    spatial_axis_name: Sequence[AxisName | None],
    arguments: dict[str, Any],
) -> jax.Array:
    """This shard's part of the convolution of the whole image that lhs is one shard of.

    Args:
      convolve: (lhs, rhs, **arguments) -> out.
      lhs, rhs, spatial_axis_name, arguments: of `conv_general_dilated`, and its request.
    """
    lhs, rhs = jnp.asarray(lhs), jnp.asarray(rhs)
    if arguments["out_sharding"] is not None:
        raise ValueError(
            f"conv_general_dilated spatial_axis_name is for shards, which have no out_sharding: "
            f"got {spatial_axis_name} and {arguments['out_sharding']}"
        )
    if isinstance(spatial_axis_name, str) or len(spatial_axis_name) != lhs.ndim - 2:
        raise ValueError(
            f"conv_general_dilated spatial_axis_name must have an entry for each of the {lhs.ndim - 2} spatial "
            f"dimensions, got {spatial_axis_name!r}"
        )
    axes: dict[str, Axes] = {}
    for axis, name in enumerate(spatial_axis_name):
        if name is not None:
            axes[f"p{axis}"] = name if isinstance(name, tuple) else (name,)
    every = [name for names in axes.values() for name in names]
    if len(set(every)) < len(every):
        raise ValueError(
            f"conv_general_dilated spatial_axis_name must name a mesh axis once, got {spatial_axis_name!r}"
        )
    sizes = in_mesh_order(every)
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, arguments["dimension_numbers"])
    shape = list(lhs.shape)
    for factor, names in axes.items():
        shape[numbers.lhs_spec[2 + int(factor[1:])]] *= prod(sizes[name] for name in names)
    settings = {name: value for name, value in arguments.items() if name not in ("request", "out_sharding")}
    image, kernel = jax.ShapeDtypeStruct(tuple(shape), lhs.dtype), jax.ShapeDtypeStruct(rhs.shape, rhs.dtype)
    geometry = geometry_of(image, kernel, **settings)
    for factor, names in axes.items():
        results, shards = geometry.out_spatial[int(factor[1:])], prod(sizes[name] for name in names)
        if results % shards:
            raise ValueError(
                f"conv_general_dilated spatial_axis_name: {results} results along spatial dimension {factor[1:]} "
                f"cannot be shared out evenly over the {shards} shards of mesh axes {names}"
            )
    arguments = {**arguments, "dimension_numbers": numbers}
    request = arguments["request"]

    def on_rows(lhs, rhs, arguments, taken):
        return convolve(lhs, rhs, **{**arguments, "request": request.less(taken)})

    device = jax.sharding.get_abstract_mesh().abstract_device
    max_bytes = request.settings.bound("cpu") if device is not None and device.platform == "cpu" else None
    return convolve_shard(on_rows, lhs, rhs, geometry, arguments, axes, sizes, max_bytes, is_differentiated=True)
