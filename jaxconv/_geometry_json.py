"""Geometries as JSON, for plans and measurements; what comes from files is checked field by field."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax import lax

from ._geometry import Geometry

# All that JAX has. No set: what a file has in place of one need not be hashable.
TYPES = sorted({jnp.dtype(each).name for each in vars(jnp).values() if isinstance(each, type(jnp.float32))})


def to_json(geometry: Geometry) -> dict[str, Any]:
    """Nothing but what JSON has: sizes that are symbols as words, which `from_json` does not read."""
    fields = {field.name: _plain(getattr(geometry, field.name)) for field in dataclasses.fields(geometry)}
    return {**fields, "precision": precision_name(geometry.precision)}


def from_json(content: Any) -> Geometry:
    """From `to_json` that went through JSON. ValueError for anything else."""
    names = [field.name for field in dataclasses.fields(Geometry)]
    if not isinstance(content, dict) or sorted(content) != sorted(names):
        raise ValueError(f"a geometry has the fields {', '.join(names)}, got {content!r:.200}")
    fields = {name: _tuples(value) for name, value in content.items()}
    rank = len(fields["kernel"]) if isinstance(fields["kernel"], tuple) else -1
    sizes = [fields[name] for name in ("batch", "groups", "in_channels", "out_channels")]
    for name in ("spatial", "kernel", "strides", "lhs_dilation", "rhs_dilation"):
        sizes += fields[name] if isinstance(fields[name], tuple) and len(fields[name]) == rank else [None]
    pairs, specs = fields["padding"], fields["dimension_numbers"]
    right = (
        all(type(size) is int and 0 <= size < 2**63 for size in sizes)
        and _is_table(pairs, rank, 2)
        and _is_table(specs, 3, rank + 2)
        and all(sorted(spec) == list(range(rank + 2)) for spec in specs)
        and isinstance(fields["batch_grouped"], bool)
        and fields["dtype"] in TYPES
        and fields["preferred_element_type"] in (None, *TYPES)
        and 0 not in (*fields["strides"], *fields["lhs_dilation"], *fields["rhs_dilation"])
    )
    if not right:
        raise ValueError(f"not the geometry of a convolution: {content!r:.500}")
    fields["precision"] = named_precision(fields["precision"])
    fields["dimension_numbers"] = lax.ConvDimensionNumbers(*specs)
    return Geometry(**fields)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (int, str)) else str(value)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _is_table(value: Any, rows: int, columns: int) -> bool:
    """Whether it has so many rows of so many integers."""
    if not isinstance(value, tuple) or len(value) != rows:
        return False
    return all(
        isinstance(row, tuple) and len(row) == columns and all(type(x) is int and abs(x) < 2**63 for x in row)
        for row in value
    )


def precision_name(precision: Any) -> Any:
    """lax's precisions as their names, pairs of them as lists."""
    if isinstance(precision, tuple):
        return [precision_name(one) for one in precision]
    return None if precision is None else precision.name


def named_precision(name: Any) -> Any:
    """The way back from `precision_name`, with tuples for lists. ValueError for anything else."""
    if isinstance(name, tuple) and len(name) == 2:
        return tuple(map(named_precision, name))
    if name is None:
        return None
    if isinstance(name, str) and name in lax.Precision.__members__:
        return lax.Precision[name]
    raise ValueError(f"no precision of lax: {name!r:.100}")
