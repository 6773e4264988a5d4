"""The factors of a convolution: what can be shared out among devices, and where the arrays have it.

    n           images                        of lhs and out: shares do not meet
    g           groups                        of all three: shares do not meet
    o           output channels of a group    of rhs and out: shares do not meet
    c           input channels of a group     of lhs and rhs: shares of a sum
    p0, p1 ...  positions of a spatial axis   of lhs and out: shares meet at their edges
    t0, t1 ...  taps of a spatial axis        of lhs and rhs: shares of a sum that meet at their edges

A spatial axis is shared out by its taps where there are more of them than results, as in weight gradients, and
otherwise by its positions. An axis of the caller's may hold two factors, groups ahead of what is in a group.
"""

from math import prod
from typing import Any, NamedTuple

from jax.experimental.custom_partitioning import ArrayMapping, CompoundFactor, SdyShardingRule
from jax.sharding import PartitionSpec

from .._geometry import Geometry

Array = tuple[tuple[str, ...], ...]  # for each axis, the factors it holds, slowest first
Axes = tuple[str, ...]  # names of mesh axes, the one of the largest steps first
ALONE = "alone_"  # the beginning of the names of factors that are never shared out


class Factors(NamedTuple):
    """Where the arrays have the factors, and the sizes of these."""

    lhs: Array
    rhs: Array
    out: Array
    sizes: dict[str, int]


def is_summed(factor: str) -> bool:
    """Whether it is of both operands and not of the result."""
    return factor[0] in "ct"


def spatial_factor(geometry: Geometry, axis: int) -> str:
    """What of a spatial axis is shared out."""
    return f"t{axis}" if geometry.out_spatial[axis] < geometry.kernel[axis] else f"p{axis}"


def factors_of(geometry: Geometry) -> Factors:
    """The factors of this convolution in the caller's layouts."""
    sizes = {"n": geometry.batch, "g": geometry.groups, "c": geometry.in_channels, "o": geometry.out_channels}
    space = [spatial_factor(geometry, axis) for axis in range(geometry.ndim)]
    kernel = [name if name[0] == "t" else f"{ALONE}k{axis}" for axis, name in enumerate(space)]
    result = [name if name[0] == "p" else f"{ALONE}o{axis}" for axis, name in enumerate(space)]
    for axis, name in enumerate(space):
        sizes[name] = geometry.kernel[axis] if name[0] == "t" else geometry.out_spatial[axis]
    batch, channels = (("g", "n"), ("c",)) if geometry.batch_grouped else (("n",), ("g", "c"))
    numbers = geometry.dimension_numbers

    def placed(spec, *axes) -> Array:
        held = dict(zip(spec, axes, strict=True))
        # Factors of one element say nothing; an axis of nothing else keeps one of them.
        return tuple(
            tuple(name for name in held[axis] if sizes.get(name) != 1) or held[axis][-1:] for axis in range(len(spec))
        )

    lhs = placed(numbers.lhs_spec, batch, channels, *((name,) for name in space))
    rhs = placed(numbers.rhs_spec, ("g", "o"), ("c",), *((name,) for name in kernel))
    out = placed(numbers.out_spec, ("n",), ("g", "o"), *((name,) for name in result))
    return Factors(lhs, rhs, out, sizes)


def propagation_rule(factors: Factors) -> SdyShardingRule:
    """The same for XLA's propagation of shardings (Shardy), from operands to the result and back."""

    def mapping(axes):
        return ArrayMapping(*(axis[0] if len(axis) == 1 else CompoundFactor(*axis) for axis in axes))

    arrays = factors.lhs, factors.rhs, factors.out
    used = list(dict.fromkeys(name for array in arrays for axis in array for name in axis))  # in Shardy's order
    whole = {axis[0] for array in arrays for axis in array if len(axis) == 1}
    sizes: dict[str, Any] = {name: factors.sizes[name] for name in used if name not in whole}
    return SdyShardingRule(
        (mapping(factors.lhs), mapping(factors.rhs)),
        (mapping(factors.out),),
        reduction_factors=tuple(filter(is_summed, used)),
        need_replication_factors=tuple(name for name in used if name.startswith(ALONE)),
        **sizes,
    )


class Division(NamedTuple):
    """Factor -> the mesh axes it is shared out over; and what could not be shared out as it was asked for, and why."""

    axes: dict[str, Axes]
    refused: list[str]


def divide(factors: Factors, asked: list[tuple[Array, list[Axes]]], mesh: dict[str, int]) -> Division:
    """Shares out the factors as the arrays are.

    Args:
      factors: of the convolution.
      asked: arrays, those that count most first: the factors of their axes, and the mesh axes these are split over.
      mesh: sizes of the mesh axes.
    """
    axes: dict[str, Axes] = {}
    for array, split in asked:
        for held, names in zip(array, split, strict=True):
            for factor, share in _by_factor(factors, held, names, mesh).items():
                if factor not in axes and not {*share} & _used(axes):
                    axes[factor] = share

    def shares(factor: str) -> int:
        return prod(mesh[name] for name in axes.get(factor, ()))

    # The parts of an axis that holds two factors are consecutive: whole ones of the first, or even parts of one.
    for outer, inner in dict.fromkeys(held for array, _ in asked for held in array if len(held) == 2):
        if factors.sizes[outer] % shares(outer):
            del axes[outer]
        if shares(inner) > 1 and (shares(outer) < factors.sizes[outer] or factors.sizes[inner] % shares(inner)):
            del axes[inner]
    refused = []
    for array, split in asked:
        for held, names in zip(array, split, strict=True):
            given = {name for factor in held for name in axes.get(factor, ())}
            # Not counted: mesh axes that another factor has, and an axis that is split otherwise in another array.
            is_free = {*names} & _used(axes) <= given <= {*names}
            is_more_than_one = not held[0].startswith(ALONE) and prod(factors.sizes[factor] for factor in held) > 1
            if is_more_than_one and is_free and given != {*names}:
                what = " x ".join(f"{factors.sizes[factor]} {WORDS.get(factor[0])}" for factor in held)
                refused.append(f"an axis of {what} over {prod(mesh[name] for name in names)} devices")
    return Division(axes, list(dict.fromkeys(refused)))


def _used(axes: dict[str, Axes]) -> set[str]:
    return {name for names in axes.values() for name in names}


def _by_factor(factors: Factors, held: tuple[str, ...], names: Axes, mesh: dict[str, int]) -> dict[str, Axes]:
    """The mesh axes of one array axis by the factors that it holds: of two, the first as far as it is even."""
    # One channel is no sum, and beside groups, in the other operand, it is not to be seen.
    if held[0].startswith(ALONE) or not names or (held == ("c",) and factors.sizes["c"] == 1):
        return {}
    if len(held) == 1:
        return {held[0]: names}
    size, outer = factors.sizes[held[0]], 0
    while outer < len(names) and size % mesh[names[outer]] == 0:
        size //= mesh[names[outer]]
        outer += 1
    shares = {held[0]: names[:outer], held[1]: names[outer:] if size == 1 else ()}
    return {factor: share for factor, share in shares.items() if share}


WORDS = {
    "g": "groups",
    "n": "images",
    "c": "input channels",
    "o": "output channels",
    "p": "positions",
    "t": "taps",
}


def spec_of(array: Array, axes: dict[str, Axes]) -> list[Axes]:
    """The mesh axes that each axis of an array is split over, once the factors are."""
    return [tuple(name for factor in held for name in axes.get(factor, ())) for held in array]


def partition_spec(split: list[Axes]) -> PartitionSpec:
    """The same as JAX writes it."""
    return PartitionSpec(*(names or None for names in split))
