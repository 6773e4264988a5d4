"""Geometries from the parameters of lax's convolution, or from a call of it, and back."""

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ._geometry import Geometry


def from_params(lhs: Any, rhs: Any, params: dict[str, Any]) -> Geometry:
    """From the parameters of lax's convolution primitive and two values that have a shape and a dtype."""
    numbers = params["dimension_numbers"]
    lhs_batch, lhs_feature, *lhs_spatial = (_plain(lhs.shape[axis]) for axis in numbers.lhs_spec)
    rhs_out, _, *rhs_spatial = (_plain(rhs.shape[axis]) for axis in numbers.rhs_spec)
    feature_groups, batch_groups = (int(params[f"{of}_group_count"]) for of in ("feature", "batch"))
    groups = feature_groups * batch_groups  # lax: at most one of them exceeds 1
    preferred = params["preferred_element_type"]
    return Geometry(
        batch=lhs_batch // batch_groups,
        spatial=tuple(lhs_spatial),
        groups=groups,
        in_channels=lhs_feature // feature_groups,
        kernel=tuple(rhs_spatial),
        out_channels=rhs_out // groups,
        strides=tuple(map(_plain, params["window_strides"])),
        padding=tuple(tuple(map(_plain, pair)) for pair in params["padding"]),
        lhs_dilation=tuple(map(_plain, params["lhs_dilation"])),
        rhs_dilation=tuple(map(_plain, params["rhs_dilation"])),
        dtype=jnp.dtype(lhs.dtype).name,
        precision=_precision_of_convolutions(params["precision"]),
        preferred_element_type=None if preferred is None else jnp.dtype(preferred).name,
        dimension_numbers=numbers,
        batch_grouped=batch_groups > 1,
    )


def _precision_of_convolutions(precision: Any) -> Any:
    """Algorithms are for `dot_general`, which refuses those that it cannot do; lax's convolutions take any, and compute
    as by default."""
    is_algorithm = isinstance(precision, (lax.DotAlgorithm, lax.DotAlgorithmPreset))
    return (lax.Precision.DEFAULT,) * 2 if is_algorithm else precision


def to_params(geometry: Geometry) -> dict[str, Any]:
    """The way back: keyword arguments for `lax.conv_general_dilated` that mean this problem."""
    return {
        "window_strides": geometry.strides,
        "padding": geometry.padding,
        "lhs_dilation": geometry.lhs_dilation,
        "rhs_dilation": geometry.rhs_dilation,
        "dimension_numbers": geometry.dimension_numbers,
        "feature_group_count": 1 if geometry.batch_grouped else geometry.groups,
        "batch_group_count": geometry.groups if geometry.batch_grouped else 1,
        "precision": geometry.precision,
        "preferred_element_type": geometry.preferred_element_type,
    }


def check_geometry(geometry: Geometry) -> None:
    """Raises ValueError for what lax leaves to the compiler, whose message names no argument and no values."""
    if 0 in geometry.kernel:
        raise ValueError(f"conv_general_dilated rhs must have at least one tap along each axis, got {geometry.kernel}")
    for name, values in (
        ("window_strides", geometry.strides),
        ("lhs_dilation", geometry.lhs_dilation),
        ("rhs_dilation", geometry.rhs_dilation),
    ):
        if len(values) != len(geometry.kernel):
            raise ValueError(
                f"conv_general_dilated {name} must have one entry for each of the "
                f"{len(geometry.kernel)} spatial dimensions, got {values}"
            )
        if any(value < 1 for value in values):
            raise ValueError(f"conv_general_dilated {name} must be positive, got {values}")


def check_array(name: str, value: Any) -> None:
    """TypeError, with the argument's name, for what has no shape, where lax fails on the missing attribute."""
    if not hasattr(value, "shape"):
        raise TypeError(f"{name} must be an array, got {value!r}")


def check_integers(**arguments: Any) -> None:
    """TypeError for numbers such as 1.0, which the caches of JAX take for 1: for a call, that is, which was right."""
    for name, values in arguments.items():
        if isinstance(values, Iterable) and any(map(is_fraction, values)):
            raise TypeError(f"conv_general_dilated {name} must be integers, got {values}")


def is_fraction(value: Any) -> bool:
    """Whether it is a number of a type that is not of integers. Most are int, which is told at once."""
    return type(value) is not int and isinstance(value, Real) and not isinstance(value, Integral)


def check_operands(lhs: Any, rhs: Any, function: str = "conv_general_dilated", rhs_name: str = "rhs") -> None:
    """The same for both operands of the function."""
    check_array(f"{function} lhs", lhs)
    check_array(f"{function} {rhs_name}", rhs)


def geometry_of(lhs: Any, rhs: Any, *args: Any, **kwargs: Any) -> Geometry:
    """The geometry of the call `lax.conv_general_dilated(lhs, rhs, *args, **kwargs)`, or the error lax raises for it.

    `lhs` and `rhs` are arrays or `jax.ShapeDtypeStruct`s.
    """
    check_operands(lhs, rhs)
    jaxpr = jax.make_jaxpr(lambda lhs, rhs: lax.conv_general_dilated(lhs, rhs, *args, **kwargs))(lhs, rhs)
    equation = next(eqn for eqn in jaxpr.eqns if eqn.primitive.name == "conv_general_dilated")
    geometry = from_params(equation.invars[0].aval, equation.invars[1].aval, equation.params)
    check_geometry(geometry)
    return geometry


def _plain(size: Any) -> Any:
    """NumPy's integers as Python's; symbolic sizes as they are."""
    return int(size) if isinstance(size, np.integer) else size
